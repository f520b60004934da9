"""What the platform stands on, whatever that is made of: the seam between a cloud and everything above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi_kubernetes as k8s
from pulumi import Input


@dataclass(frozen=True, kw_only=True)
class ArtifactStore:
    """A bucket that speaks S3; `environment` is how its clients find it (region, endpoint).

    `egress` is the way to it, and to what pods need to be let in, in a NetworkPolicy.
    """

    bucket: Input[str]
    environment: Mapping[str, Input[str]]
    egress: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgsDict]


@dataclass(frozen=True, kw_only=True)
class Database:
    """An empty Postgres database, or one of MLflow's, that takes TLS connections alone.

    `egress` is the way to it in a NetworkPolicy. `snapshot` is what was saved of it before another version of MLflow
    may change its schema; None where nothing is saved.
    """

    host: Input[str]
    port: int
    name: str
    user: str
    password: Input[str]
    egress: k8s.networking.v1.NetworkPolicyEgressRuleArgsDict
    snapshot: Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class NodePool:
    """Nodes found by their labels. With `gpu_resource` they have GPUs, and a taint of that name keeps others off."""

    labels: Mapping[str, str]
    gpu_resource: str | None = None


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Where a kind of workload runs, and what lets it at the artifact store.

    `secret` is a Secret in `namespace` whose keys are environment variables; None where the identity behind the
    service account is enough.
    """

    namespace: Input[str]
    service_account: Input[str]
    secret: Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Ingress:
    """A way in from outside the cluster, at `https://host` or, without a certificate, `http://host`.

    `sources` are the address blocks that its load balancer's requests come from.
    """

    host: str
    tls: bool
    class_name: str
    annotations: Mapping[str, Input[str]]
    sources: Sequence[Input[str]]

    @property
    def url(self) -> str:
        """Where people and programs outside reach it."""
        return f"{'https' if self.tls else 'http'}://{self.host}"


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """A cluster with our namespaces in it, two stores outside or inside of it, and a grant for each workload.

    `facts` are what people need to know of it; nothing secret.
    """

    provider: k8s.Provider
    artifact_store: ArtifactStore
    database: Database
    node_pools: Mapping[str, NodePool]
    tracking: Grant
    training: Grant
    serving: Grant
    facts: Mapping[str, Input[str] | Mapping[str, Input[str]]]
