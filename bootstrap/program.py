"""Declaration of the bucket, key, roles and boundary with which the platform's stacks are deployed."""

from collections.abc import Iterable, Iterator, Mapping

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from bootstrap import documents
from bootstrap.documents import AUDIENCE, DEPLOY, ISSUER, PREVIEW, PROPOSE, TRAIN, State
from bootstrap.settings import GitHub, Settings
from components.aws import account as accounts
from components.aws.account import Account
from components.aws.artifact_bucket import encryption
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.private_bucket import keep_private
from infra.config.problems import Problem, refusal
from infra.config.rules import Rule

KEPT_DAYS = 365
"""Days for which overwritten and deleted states can be restored."""


def deploy(settings: Settings) -> None:
    """Declare all resources and export what the stacks' files and workflows need.

    Raises:
        pulumi.RunError: the credentials do not fit the stack file; the message lists every problem.
    """
    account = accounts.current()
    if found := [*_credentials(account, settings)] or [*_provider_is_there(account, settings.github)]:
        raise refusal(found)
    key = EncryptionKey(
        "state",
        EncryptionKeyArgs(description="Pulumi: state and secrets", alias="pulumi", account=account, protected=True),
    )
    _bucket(settings.state_bucket, key)
    state = State(bucket_arn=f"arn:{account.partition}:s3:::{settings.state_bucket}", key_arn=key.arn)
    boundary = aws.iam.Policy(
        "boundary",
        name=documents.BOUNDARY.rpartition("/")[2],
        path=f"/{documents.BOUNDARY.rpartition('/')[0]}/",
        policy=documents.boundary(state, account=account),
    )
    trusted: list[pulumi.Resource] = []
    chosen = settings.github.environments
    if settings.github.provider == "new":
        trusted.append(aws.iam.OpenIdConnectProvider("github", url=f"https://{ISSUER}", client_id_lists=[AUDIENCE]))
    roles = [
        (PREVIEW, chosen.preview, documents.of_preview(state, account=account, copy_region=settings.backup_region)),
        (DEPLOY, chosen.deploy, documents.of_deploy(state, account=account, copy_region=settings.backup_region)),
    ]
    if training := settings.training:
        roles.append((TRAIN, training.environments, documents.of_train(training, account=account)))
    if copies := settings.copies:
        roles.append((PROPOSE, copies.environments, documents.of_propose(copies, account=account)))
    for name, environments, policies in roles:
        subjects = [subject for each in environments for subject in settings.github.subjects_of(each)]
        role = _role(
            name,
            subjects,
            policies,
            boundary_arn=boundary.arn,
            account=account,
            opts=ResourceOptions(depends_on=trusted),
        )
        pulumi.export(f"{name.removeprefix('mlops-')}_role_arn", role.arn)
    pulumi.export("permissions_boundary", boundary.arn)
    pulumi.export("state_url", f"s3://{settings.state_bucket}?region={account.region}&awssdk=v2")
    pulumi.export("secrets_provider", f"awskms://alias/pulumi?region={account.region}")


def _credentials(account: Account, settings: Settings) -> Iterator[Problem]:
    if account.id != settings.account_id:
        yield Problem(
            path="account_id",
            found=f'is "{settings.account_id}"',
            rule=Rule(
                must=f"must be the account of your credentials, {account.id}",
                because="with the wrong profile, the roles of another account would trust your repository",
                instead="choose the right profile (AWS_PROFILE), or write the number of this account",
            ),
        )


def _provider_is_there(account: Account, github: GitHub) -> Iterator[Problem]:
    arn = documents.provider_arn(account)
    if github.provider == "existing" and (audiences := accounts.oidc_audiences(arn)) != [AUDIENCE]:
        if audiences is None:
            must, instead = "must be new if the account has no provider for GitHub", "write provider: new"
        elif AUDIENCE in audiences:
            return
        else:
            must = f"must be a provider with the audience {AUDIENCE}"
            instead = f"run aws iam add-client-id-to-open-id-connect-provider --client-id {AUDIENCE} for {arn}"
        because = "AWS accepts GitHub's tokens by this provider only"
        rule = Rule(must=must, because=because, instead=instead)
        yield Problem(path="github.provider", found="is existing", rule=rule)


def _bucket(name: str, key: EncryptionKey) -> None:
    """Declare a private, versioned bucket, encrypted with the key, that accepts only TLS connections."""
    # Without its state, Pulumi no longer knows the resources of any stack.
    bucket = aws.s3.Bucket("state", bucket=name, opts=ResourceOptions(protect=True))
    aws.s3.BucketServerSideEncryptionConfiguration("state", bucket=bucket.id, rules=encryption(key.arn))
    keep_private("state", bucket)
    aws.s3.BucketLifecycleConfiguration(
        "state",
        bucket=bucket.id,
        rules=[
            {
                "id": "overwritten-and-deleted",
                "status": "Enabled",
                "filter": {},
                "noncurrent_version_expiration": {"noncurrent_days": KEPT_DAYS},
                "expiration": {"expired_object_delete_marker": True},
            }
        ],
    )


def _role(
    name: str,
    subjects: Iterable[str],
    policies: Mapping[str, Output[str]],
    *,
    boundary_arn: Output[str],
    account: Account,
    opts: ResourceOptions,
) -> aws.iam.Role:
    """Declare a role that jobs with these subjects can take, with its policies."""
    role = aws.iam.Role(
        name,
        name=name,
        assume_role_policy=documents.trust_jobs(subjects, account=account),
        permissions_boundary=boundary_arn,
        opts=opts,
    )
    for part, text in policies.items():
        policy = aws.iam.Policy(f"{name}-{part}", name=f"{name}-{part}", path="/bootstrap/", policy=text)
        aws.iam.RolePolicyAttachment(f"{name}-{part}", role=role.name, policy_arn=policy.arn)
    return role
