"""Versions that an endpoint runs at the same time: champion, challenger and shadow."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components.endpoint.autoscaling import Autoscaling
from components.endpoint.release import Files
from contract import names

Role = Literal["champion", "challenger", "shadow"]
ROUTED_DRAIN_SECONDS = 10
"""Seconds for which a pod behind a router accepts requests at least while it stops: the router reads its pods from DNS,
whose answers are up to 5 seconds old."""
SALT = "salt"
"""Key in the Secret with which the pods hash the callers' keys."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number and size of the pods of a version."""

    autoscaling: Autoscaling
    """Limits and targets of the autoscaler."""
    cpu: str
    """CPU request of a pod, as a Kubernetes quantity."""
    memory: str
    """Memory request and limit of a pod, as a Kubernetes quantity."""


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """Version that gets copies of requests and whose responses are dropped."""

    version: int
    """Number of the version in the registry."""
    files: Input[Files]
    """Files of the version, which the pods download."""
    percent: int
    """Share of the requests that is copied, in percent."""
    size: Size
    """Number and size of the pods."""


@dataclass(frozen=True, kw_only=True)
class Challenger(Shadow):
    """Second version that answers a share of the callers; `percent` is the share of the keys."""

    key: str
    """Name of the request header by which callers are split."""
    experiment: str
    """Name of the experiment."""
    override: bool
    """True: a client may choose one of the two versions by the header X-Model-Version."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the versions of an endpoint, with the names and labels of its objects."""

    endpoint: str
    """Name of the endpoint."""
    role: Role = "champion"
    """Role of the version."""
    is_routed: bool = False
    """True if the pods get their requests from a router, not from the endpoint's Service."""
    is_guarded: bool = False
    """True if the pods accept no requests from others than the router, which verifies the callers."""
    environment: Mapping[str, str] | None = None
    """Further environment variables of the server."""
    salt: Input[str] | None = None
    """Name of the Secret with the salt for the callers' keys; None if callers have no key."""

    @property
    def name(self) -> str:
        """Name of the Deployment."""
        return self.endpoint if self.role == "champion" else f"{self.endpoint}-{self.role}"

    @property
    def host(self) -> str:
        """Name of the Service whose DNS name resolves to the addresses of the ready pods."""
        return f"{self.endpoint}-{self.role}"

    @property
    def selector(self) -> dict[str, str]:
        """Labels by which objects select the pods."""
        return names.selector(names.SERVERS[self.role], self.endpoint)

    def labels(self, version: int) -> dict[str, str]:
        """Return the labels of the Deployment."""
        component = "serving" if self.role == "champion" else self.role
        return names.labels(names.SERVERS[self.role], self.endpoint, component, version=str(version))

    def pod_labels(self, version: int) -> dict[str, str]:
        """Return the labels of the pods. Pods behind a router lack the label by which a Service finds the router."""
        labels = names.labels(
            names.SERVERS[self.role], self.endpoint, self.role if self.is_routed else "serving", version=str(version)
        )
        return labels | ({names.GUARDED: "router"} if self.is_guarded else {})

    def variables(self) -> list[k8s.core.v1.EnvVarArgsDict]:
        """Return the environment variables by which the server knows its role."""
        plain: list[k8s.core.v1.EnvVarArgsDict] = [
            {"name": name, "value": value} for name, value in sorted((self.environment or {}).items())
        ]
        if self.salt is None:
            return plain
        return [*plain, {"name": "UNIT_SALT", "value_from": {"secret_key_ref": {"name": self.salt, "key": SALT}}}]

    def service(self, metadata: k8s.meta.v1.ObjectMetaArgsDict, opts: ResourceOptions) -> k8s.core.v1.Service:
        """Declare the Service without an address of its own, whose DNS name has the addresses of the pods."""
        return k8s.core.v1.Service(
            self.host,
            metadata={**metadata, "name": self.host, "annotations": {"pulumi.com/skipAwait": "true"}},
            spec={
                "cluster_ip": "None",
                "selector": self.selector,
                "ports": [{"name": "http", "port": names.SERVING_PORT, "protocol": "TCP"}],
            },
            opts=opts,
        )


def only_from_router(
    endpoint: str, metadata: k8s.meta.v1.ObjectMetaArgsDict, opts: ResourceOptions
) -> k8s.networking.v1.NetworkPolicy:
    """Declare the policy by which guarded pods accept requests from the router and from validations only.

    Pods that started before the endpoint verified its callers lack the label, so they answer until the router does.
    """
    validations: k8s.networking.v1.NetworkPolicyPeerArgsDict = {
        "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": names.TRAINING}},
        "pod_selector": {"match_labels": names.VALIDATIONS},
    }
    routers: k8s.networking.v1.NetworkPolicyPeerArgsDict = {
        "pod_selector": {"match_labels": names.selector(names.ROUTERS, endpoint)}
    }
    return k8s.networking.v1.NetworkPolicy(
        f"{endpoint}-guard",
        metadata=metadata,
        spec={
            "pod_selector": {"match_labels": {names.INSTANCE: endpoint, names.GUARDED: "router"}},
            "policy_types": ["Ingress"],
            "ingress": [
                {"from_": [routers, validations], "ports": [{"protocol": "TCP", "port": names.SERVING_PORT}]},
                {"ports": [{"protocol": "TCP", "port": names.PROBE_PORT}]},
            ],
        },
        opts=opts,
    )


def entry(endpoint: str) -> dict[str, str]:
    """Return the labels by which the Service of an endpoint with a router finds its pods.

    They select the router and the pods of an endpoint without one. When a router starts, new pods of the champion lack
    a label, so the old ones answer until the router does; when it ends, new ones with the label answer before it goes.
    """
    return {names.INSTANCE: endpoint, **names.ENDPOINTS}


def salt(endpoint: str, metadata: k8s.meta.v1.ObjectMetaArgsDict, opts: ResourceOptions) -> Output[str]:
    """Declare the Secret with the salt for the callers' keys, which is made once, and return its name."""
    value = Output.secret(base64.b64encode(secrets.token_hex(32).encode()).decode())
    once = ResourceOptions.merge(opts, ResourceOptions(ignore_changes=["data"]))
    return k8s.core.v1.Secret(f"{endpoint}-unit", metadata=metadata, data={SALT: value}, opts=once).metadata.name
