"""Checks of an AWS stack before any resource: credentials, stack name, zones, and resources that must exist."""

import re
from collections.abc import Iterator, Mapping, Sequence

import pulumi

from components.aws import account as accounts
from components.aws import rds_authorities
from components.aws.account import Account, role_of
from components.aws.existing_cluster import ClusterFacts, cluster_facts
from infra.config import aws_rules
from infra.config.aws import (
    AutoNodePool,
    AwsFoundation,
    ExistingCluster,
    ExistingNetwork,
    Ingress,
    ManagedNodePool,
    NewCluster,
    NewNetwork,
)
from infra.config.problems import PREFIX, Problem, refusal, shown
from infra.config.rules import Rule
from infra.config.stack import Settings


def check(name: str, account: Account, zones: Sequence[str], stack: Settings) -> None:
    """Check that the stack can be deployed with the credentials of `account`.

    `name` is the prefix of all fixed names. `zones` are the names of the region's zones that can hold a cluster.

    Raises:
        pulumi.RunError: the stack cannot be deployed; the message lists every problem.
    """
    if not isinstance(chosen := stack.foundation, AwsFoundation):
        return
    found = [
        *_name(name),
        *_credentials(account, chosen),
        *_zones(account, zones, chosen),
        *_copies(account, chosen),
        *_authority(account, chosen),
    ]
    if not found:
        found = list(_absent(chosen))
        if isinstance(chosen.cluster, ExistingCluster):
            found += _existing(cluster_facts(chosen.cluster.name), chosen)
    if found := [*found, *_certificates(account, _ingresses(stack))]:
        raise refusal(found)


def name_access(account: Account, chosen: AwsFoundation) -> None:
    """Log one line that names the key for people's roles if `admin_role_arns` has more than the role that deploys."""
    if not isinstance(cluster := chosen.cluster, NewCluster):
        return
    own = role_of(account.caller_arn).rpartition("/")[2]
    if others := [arn for arn in cluster.admin_role_arns if arn.rpartition("/")[2] != own]:
        pulumi.log.info(
            f"{PREFIX}foundation.cluster.admin_role_arns makes administrators of {', '.join(others)}; "
            f"{PREFIX}foundation.cluster.access gives people fewer rights: viewers, trainers, oncall"
        )


def _name(name: str) -> Iterator[Problem]:
    stack = pulumi.get_stack()
    if not re.fullmatch(aws_rules.STACK_NAME, name) or len(stack) > aws_rules.MAX_STACK:
        yield Problem(
            path="foundation",
            found=f"belongs to the stack {stack}",
            rule=Rule(
                must="must belong to a stack whose name has only a-z, 0-9 and single hyphens, and at most "
                f"{aws_rules.MAX_STACK} characters",
                because="cluster, database, repositories and roles are named after it, and AWS accepts no other names",
                instead="run pulumi stack init with such a name, as in prod, and rename the file",
            ),
        )


def _authority(account: Account, chosen: AwsFoundation) -> Iterator[Problem]:
    if chosen.database.authority is None and rds_authorities.root(account.region) is None:
        yield Problem(
            path="foundation.database.authority",
            found="is missing",
            rule=Rule(
                must=f"must hold the certificates (PEM) of the database authority of {account.region}",
                because="the program has no certificate for this region, and MLflow connects only to a database that "
                "it can verify",
                instead=f"write the content of https://truststore.pki.rds.amazonaws.com/{account.region}/"
                f"{account.region}-bundle.pem, indented, below authority: |",
            ),
        )


def _credentials(account: Account, chosen: AwsFoundation) -> Iterator[Problem]:
    if account.id != chosen.account_id:
        yield Problem(
            path="foundation.account_id",
            found=f'is "{chosen.account_id}"',
            rule=Rule(
                must=f"must be the account of your credentials, {account.id}",
                because="a deployment with the wrong profile would change another account",
                instead="choose the right profile (AWS_PROFILE), or write the number of this account",
            ),
        )
    elif isinstance(chosen.cluster, NewCluster) and (problem := _access(account.caller_arn, chosen.cluster)):
        yield problem


def _access(caller_arn: str, cluster: NewCluster) -> Problem | None:
    """Return the problem of a caller whom the cluster will refuse; None if it will accept the caller.

    A preview needs only to read: the Kubernetes provider makes it without the cluster's dry run if that is forbidden.
    """
    if _is_among(cluster.admin_role_arns, caller_arn):
        return None
    previews = _is_among(cluster.preview_role_arns, caller_arn)
    if previews and pulumi.runtime.is_dry_run():
        return None
    return Problem(
        path="foundation.cluster.admin_role_arns",
        found=f"lacks {role_of(caller_arn)}",
        rule=Rule(
            must="must contain the role that runs pulumi up" if previews else "must contain the role that runs pulumi",
            because="a role in preview_role_arns may change no object of the cluster"
            if previews
            else "the cluster accepts only these roles, so the first object in it would fail with 401",
            instead="run pulumi with one of the roles in the list"
            if previews
            else "add it, or run pulumi with one of the roles in the list; for a role that only previews, add it to "
            "preview_role_arns",
        ),
    )


def _is_among(role_arns: Sequence[str], caller_arn: str) -> bool:
    """Compare the last parts of the ARNs, because the ARN of a session omits the path of its role."""
    return role_of(caller_arn).rpartition("/")[2] in {arn.rpartition("/")[2] for arn in role_arns}


def _zones(account: Account, zones: Sequence[str], chosen: AwsFoundation) -> Iterator[Problem]:
    network = chosen.network
    if isinstance(network, NewNetwork) and network.availability_zones > len(zones):
        yield Problem(
            path="foundation.network.availability_zones",
            found=f"is {network.availability_zones}",
            rule=Rule(
                must=f"must be at most {len(zones)} in {account.region}",
                because=f"only these zones of the region can hold a cluster: {', '.join(zones)}",
                instead="write a smaller number, or choose another aws:region",
            ),
        )
    allowed = zones[: network.availability_zones] if isinstance(network, NewNetwork) else zones
    for name, pool in chosen.node_pools.items():
        if isinstance(pool, AutoNodePool) and not set(pool.zones) <= set(allowed):
            yield Problem(
                path=f"foundation.node_pools.{name}.zones",
                found=f"is {shown(pool.zones)}",
                rule=Rule(
                    must=f"must be among {', '.join(allowed)}",
                    because="only these zones have subnets, so elsewhere no node would ever start",
                    instead="choose some of these zones, or leave the key out to use all of them",
                ),
            )


def _copies(account: Account, chosen: AwsFoundation) -> Iterator[Problem]:
    if chosen.backup and chosen.backup.copy_region == account.region:
        yield Problem(
            path="foundation.backup.copy_region",
            found=f"is {account.region}",
            rule=Rule(
                must="must be another region than the stack's",
                because="a copy in the same region is lost with the region",
                instead="choose one that `aws ec2 describe-regions` lists, as in eu-central-1",
            ),
        )


AUTOSCALING = "AWSServiceRoleForAutoScaling"


def _absent(chosen: AwsFoundation) -> Iterator[Problem]:
    """Yield a problem for each resource that the stack file names and AWS does not have."""
    for path, arn in _entries(chosen.cluster):
        if _is_absent(arn, there := accounts.role(arn.rpartition("/")[2])):
            yield Problem(
                path=path,
                found=f"is {arn}",
                rule=Rule(
                    must="must be a role that exists" if there is None else f"must be {there}, the role of that name",
                    because="EKS refuses an access entry for any other ARN, so the update would stop half way",
                    instead="create the role (docs/aws.md, step 1), or remove it from the list"
                    if there is None
                    else "write the ARN with its path",
                ),
            )
    if (boundary := chosen.permissions_boundary) and accounts.policy(boundary) is None:
        yield Problem(
            path="foundation.permissions_boundary",
            found=f"is {boundary}",
            rule=Rule(
                must="must be a policy that exists",
                because="IAM refuses to create a role with a permissions boundary that does not exist",
                instead="write the bootstrap's output permissions_boundary (docs/aws.md, step 1), or leave the key out",
            ),
        )
    if (logs := chosen.artifacts.access_log_bucket) and accounts.bucket(logs) is None:
        yield Problem(
            path="foundation.artifacts.access_log_bucket",
            found=f"is {logs}",
            rule=Rule(
                must="must be an existing bucket that your credentials can read",
                because="S3 refuses to write access logs to any other bucket",
                instead="create the bucket, or leave the key out",
            ),
        )
    managed = [name for name, pool in chosen.node_pools.items() if isinstance(pool, ManagedNodePool)]
    if managed and accounts.role(AUTOSCALING) is None:
        yield Problem(
            path=f"foundation.node_pools.{managed[0]}.kind",
            found="is managed",
            rule=Rule(
                must=f"must be auto if the account has no role {AUTOSCALING}",
                because="EC2 Auto Scaling starts managed nodes with this role, and the key of their disks refers to it",
                instead="run aws iam create-service-linked-role --aws-service-name autoscaling.amazonaws.com",
            ),
        )


def _entries(cluster: NewCluster | ExistingCluster) -> Iterator[tuple[str, str]]:
    """Yield the path in the stack file and the ARN of each role that gets an access entry."""
    if isinstance(cluster, NewCluster):
        lists = {"admin_role_arns": cluster.admin_role_arns, "preview_role_arns": cluster.preview_role_arns}
        lists |= {f"access.{key}": arns for key, arns in cluster.access}
        for key, arns in lists.items():
            for place, arn in enumerate(arns):
                yield f"foundation.cluster.{key}.{place}", arn


def _is_absent(arn: str, there: str | None) -> bool:
    """Return whether there is no role of that name, or only one with another path."""
    return there is None or there not in {"", arn}


def _existing(existing: ClusterFacts, chosen: AwsFoundation) -> Iterator[Problem]:
    if isinstance(chosen.network, ExistingNetwork) and chosen.network.vpc_id != existing.vpc_id:
        yield Problem(
            path="foundation.network.vpc_id",
            found=f"is {chosen.network.vpc_id}",
            rule=Rule(
                must=f"must be {existing.vpc_id}, the VPC of the existing cluster",
                because="nodes in another VPC cannot join the cluster, and its pods cannot reach a database there",
                instead="write that VPC and its subnets, or another cluster.name",
            ),
        )
    if existing.authentication_mode == "CONFIG_MAP":
        yield Problem(
            path="foundation.cluster.name",
            found="is a cluster with authentication mode CONFIG_MAP",
            rule=Rule(
                must="must be a cluster that accepts access entries",
                because="new nodes join the cluster by an access entry",
                instead="run aws eks update-cluster-config --access-config authenticationMode=API_AND_CONFIG_MAP",
            ),
        )
    if not existing.auto_mode and any(isinstance(pool, AutoNodePool) for pool in chosen.node_pools.values()):
        yield Problem(
            path="foundation.cluster.name",
            found="is a cluster without Auto Mode",
            rule=Rule(
                must="must be a cluster in Auto Mode if a node pool is of kind auto",
                because="without Auto Mode, no nodes of such a pool would start",
                instead="enable Auto Mode, or write kind: managed in each pool",
            ),
        )


def _ingresses(stack: Settings) -> Mapping[str, Ingress]:
    """Return the configured ingresses by their paths in the stack file."""
    ingresses = {
        "tracking.ingress": stack.tracking.ingress,
        **{f"endpoints.{name}.ingress": endpoint.ingress for name, endpoint in stack.endpoints.items()},
    }
    return {path: ingress for path, ingress in ingresses.items() if ingress}


def _certificates(account: Account, ingresses: Mapping[str, Ingress]) -> Iterator[Problem]:
    for path, ingress in ingresses.items():
        if ingress.certificate_arn and ingress.certificate_arn.split(":")[3:5] != [account.region, account.id]:
            yield Problem(
                path=f"{path}.certificate_arn",
                found=f"is {ingress.certificate_arn}",
                rule=Rule(
                    must=f"must be a certificate of account {account.id} in {account.region}",
                    because="a load balancer can use only certificates of its own account and region",
                    instead="choose a certificate that `aws acm list-certificates` lists there, or request one",
                ),
            )
