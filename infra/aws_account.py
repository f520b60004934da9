"""Whether the credentials at hand are those that the stack file was written for: asked before any resource."""

from collections.abc import Iterator

from components.aws.account import Account, role_of
from infra.aws_settings import AwsFoundation, NewCluster
from infra.problems import Problem, refusal
from infra.rules import Rule


def check(account: Account, chosen: AwsFoundation) -> None:
    """pulumi.RunError with every reason not to go on."""
    if found := list(problems(account, chosen)):
        raise refusal(found)


def problems(account: Account, chosen: AwsFoundation) -> Iterator[Problem]:
    """What about the credentials does not fit the stack file."""
    if account.id != chosen.account_id:
        yield Problem(
            path="foundation.account_id",
            found=f'is "{chosen.account_id}"',
            rule=Rule(
                must=f"must be the account of your credentials, {account.id}",
                because="a stack that is deployed with the wrong profile changes somebody else's account",
                instead="choose the right profile (AWS_PROFILE), or correct the number if this account is meant",
            ),
        )
    elif isinstance(chosen.cluster, NewCluster) and not _may_administer(account.caller_arn, chosen.cluster):
        yield Problem(
            path="foundation.cluster.admin_role_arns",
            found=f"lacks {role_of(account.caller_arn)}",
            rule=Rule(
                must="must hold the role that runs pulumi",
                because="the cluster lets in nobody else, so its first object would fail with 401",
                instead="add it, or run pulumi with one of the roles in the list",
            ),
        )


def _may_administer(caller_arn: str, cluster: NewCluster) -> bool:
    """A session names its role without the role's path, so only the last part of an ARN can be compared."""
    return role_of(caller_arn).rpartition("/")[2] in {arn.rpartition("/")[2] for arn in cluster.admin_role_arns}
