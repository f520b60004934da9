"""Checks of the EKS cluster, and access to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.aws import kubernetes_access
from doctor.aws.requests import AbsentError, Answer, Aws
from doctor.findings import Finding, UncheckedError, ok, problem, warning
from doctor.stack_file import Stack
from infra.config.aws import AutoNodePool, AwsFoundation, ExistingCluster, ExistingNetwork, NewCluster

VERSION = "foundation.cluster.kubernetes_version"
SOON = timedelta(days=60)
"""Time before the end of standard support at which it is reported."""


def cluster_name(stack: Stack, chosen: AwsFoundation) -> str:
    """Return the name of the stack's cluster."""
    return chosen.cluster.name if isinstance(chosen.cluster, ExistingCluster) else stack.full_name


def version(aws: Aws, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check that EKS offers the version of Kubernetes, in standard support."""
    if not isinstance(chosen.cluster, NewCluster):
        yield ok("the cluster exists already, and its owner upgrades it")
        return
    wanted = chosen.cluster.kubernetes_version
    offered = aws.ask("eks", "describe_cluster_versions")["clusterVersions"]
    found = next((each for each in offered if each["clusterVersion"] == wanted), None)
    newer = sorted(
        (each["clusterVersion"] for each in offered if each.get("versionStatus") == "STANDARD_SUPPORT"),
        key=lambda text: [int(part) for part in text.split(".")],
    )
    if found is None or found.get("versionStatus") == "UNSUPPORTED":
        yield problem(
            f"EKS does not offer Kubernetes {wanted} in {aws.region}; it offers {', '.join(newer) or 'none'}",
            "pulumi up stops when it creates or upgrades the cluster",
            stack.set_command(VERSION, newer[0] if newer else "VERSION", text=True),
        )
        return
    ends: datetime | None = found.get("endOfStandardSupportDate")
    soon = ends is not None and ends - datetime.now(UTC) < SOON
    if soon or found.get("versionStatus") == "EXTENDED_SUPPORT":
        yield warning(
            f"standard support of Kubernetes {wanted} {f'ends on {ends:%Y-%m-%d}' if ends else 'has ended'}",
            "the stack refuses extended support, so AWS then upgrades the cluster by itself",
            f"upgrade by one minor version at a time (docs/aws.md); EKS offers {', '.join(newer)}",
        )
        return
    yield ok(f"Kubernetes {wanted} is in standard support")


def cluster(aws: Aws, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    """Check the cluster if it exists: its state, its version, and what the program requires of an existing one."""
    name = cluster_name(stack, chosen)
    try:
        found = aws.ask("eks", "describe_cluster", name=name)["cluster"]
    except AbsentError:
        if isinstance(chosen.cluster, ExistingCluster):
            yield problem(
                f"there is no cluster {name} in {aws.region}",
                "the stack file says that it exists",
                "run aws eks list-clusters, and write one into mlops:foundation.cluster.name",
            )
        else:
            yield ok(f"{name} does not exist yet; pulumi up creates it", ends=True)
        return
    if found["status"] not in {"ACTIVE", "UPDATING"}:
        yield problem(
            f"{name} is {found['status']}",
            "its API may not respond",
            f"run aws eks describe-cluster --name {name} --query cluster.health",
        )
        return
    yield from _version_of(name, found, stack, chosen)
    if isinstance(chosen.cluster, ExistingCluster):
        yield from _existing(name, found, stack, chosen)
    yield ok(f"{name} is {found['status']} with Kubernetes {found['version']}")


def _version_of(name: str, found: Answer, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    if not isinstance(chosen.cluster, NewCluster):
        return
    wanted, there = chosen.cluster.kubernetes_version, str(found["version"])
    steps = int(wanted.partition(".")[2]) - int(there.partition(".")[2])
    if steps > 1 or steps < 0:
        major, _, minor = there.partition(".")
        next_one = f"{major}.{int(minor) + 1}" if steps > 1 else there
        yield problem(
            f"{name} runs Kubernetes {there}, and the file says {wanted}",
            "EKS upgrades by one minor version at a time" if steps > 1 else "EKS does not go back after 7 days",
            stack.set_command(VERSION, next_one, text=True),
        )
    elif steps:
        yield warning(
            f"{name} runs Kubernetes {there}, and the file says {wanted}",
            "the next pulumi up upgrades it",
            "run pulumi up",
        )


def _existing(name: str, found: Answer, stack: Stack, chosen: AwsFoundation) -> Iterator[Finding]:
    vpc = found["resourcesVpcConfig"]["vpcId"]
    if isinstance(chosen.network, ExistingNetwork) and chosen.network.vpc_id != vpc:
        yield problem(
            f"{name} is in {vpc}, and network.vpc_id is {chosen.network.vpc_id}",
            "nodes in another VPC cannot join the cluster",
            f"{stack.set_command('foundation.network.vpc_id', vpc)}, and list its subnets",
        )
    if found.get("accessConfig", {}).get("authenticationMode") == "CONFIG_MAP":
        yield problem(
            f"{name} has authentication mode CONFIG_MAP",
            "new nodes join by an access entry, which this mode ignores",
            f"run aws eks update-cluster-config --name {name} --access-config authenticationMode=API_AND_CONFIG_MAP",
        )
    auto = any(isinstance(pool, AutoNodePool) for pool in chosen.node_pools.values())
    if auto and not found.get("computeConfig", {}).get("enabled"):
        yield problem(
            f"{name} is not in Auto Mode",
            "no node of a pool of kind auto would start",
            'enable Auto Mode (EKS user guide, "Enable on existing clusters"), or write kind: managed in each pool',
        )


def write_kubeconfig(aws: Aws, name: str, file: Path) -> None:
    """Write a kubeconfig for the cluster; it has no secret, and gets tokens from `aws eks get-token`."""
    found: Mapping[str, Any] = aws.ask("eks", "describe_cluster", name=name)["cluster"]
    if "endpoint" not in found:
        raise UncheckedError(f"cluster {name} has no endpoint yet", "run mlops doctor again when the cluster is ACTIVE")
    document = kubernetes_access.document(
        name, aws.region, endpoint=found["endpoint"], certificate=found["certificateAuthority"]["data"]
    )
    file.write_text(json.dumps(document))
