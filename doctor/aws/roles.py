"""Checks of IAM roles and policies that must exist."""

from __future__ import annotations

from collections.abc import Iterator

from doctor.aws.requests import AbsentError, Aws
from doctor.findings import Finding, ok, problem, warning
from infra.config.aws import AutoNodePool, AwsFoundation, ManagedNodePool, NewCluster

SERVICE_ROLES = {
    "autoscaling": "AWSServiceRoleForAutoScaling",
    "eks": "AWSServiceRoleForAmazonEKS",
    "eks-nodegroup": "AWSServiceRoleForAmazonEKSNodegroup",
    "elasticloadbalancing": "AWSServiceRoleForElasticLoadBalancing",
    "rds": "AWSServiceRoleForRDS",
    "spot": "AWSServiceRoleForEC2Spot",
}
"""Service-linked role of each service."""


def named_roles(aws: Aws, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that the roles and the boundary in the stack file exist, and are written with their paths."""
    cluster = chosen.cluster
    lists = {"image_reader_role_arns": chosen.image_reader_role_arns}
    if isinstance(cluster, NewCluster):
        lists["cluster.admin_role_arns"] = cluster.admin_role_arns
        lists["cluster.preview_role_arns"] = cluster.preview_role_arns
    for key, arns in lists.items():
        for arn in arns:
            yield _named(aws, f"mlops:foundation.{key}", arn)
    if boundary := chosen.permissions_boundary:
        yield _boundary(aws, boundary)


def _named(aws: Aws, key: str, arn: str) -> Finding:
    try:
        there = aws.ask("iam", "get_role", RoleName=arn.rpartition("/")[2])["Role"]["Arn"]
    except AbsentError:
        return problem(
            f"{key} names {arn}, which does not exist",
            "AWS refuses a policy or an access entry for it, so pulumi up stops half way",
            f"create the role (docs/aws.md, step 1), or remove it from {key}",
        )
    if there != arn:
        return problem(
            f"{key} names {arn}, and the role of this name is {there}",
            "AWS compares the whole ARN, with its path",
            f"write {there} into {key}",
        )
    return ok(f"{arn} exists")


def _boundary(aws: Aws, arn: str) -> Finding:
    try:
        aws.ask("iam", "get_policy", PolicyArn=arn)
    except AbsentError:
        return problem(
            f"the permissions boundary {arn} does not exist",
            "IAM refuses to create a role with it",
            "run pulumi stack output permissions_boundary in bootstrap/, and write the output into "
            "mlops:foundation.permissions_boundary",
        )
    return ok(f"{arn} exists")


def service_roles(aws: Aws, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that the services that start nodes have their roles in the account."""
    pools = chosen.node_pools.values()
    managed = any(isinstance(pool, ManagedNodePool) for pool in pools)
    spot = any("spot" in pool.capacity if isinstance(pool, AutoNodePool) else pool.capacity == "spot" for pool in pools)
    required = {"autoscaling": managed, "spot": spot}
    used = {**required, "eks": True, "eks-nodegroup": managed, "elasticloadbalancing": True, "rds": True}
    missing = list[str]()
    for service, role in SERVICE_ROLES.items():
        if used[service]:
            try:
                aws.ask("iam", "get_role", RoleName=role)
            except AbsentError:
                missing.append(service)
    for service in missing:
        command = f"run aws iam create-service-linked-role --aws-service-name {service}.amazonaws.com"
        if required.get(service):
            yield problem(f"the account has no role {SERVICE_ROLES[service]}", "nodes cannot start without it", command)
        else:
            yield warning(
                f"the account has no role {SERVICE_ROLES[service]}",
                "AWS creates it at the first use, if the role that deploys has iam:CreateServiceLinkedRole",
                command,
            )
    if not missing:
        yield ok(f"the service-linked roles of {', '.join(name for name, needed in used.items() if needed)} exist")
