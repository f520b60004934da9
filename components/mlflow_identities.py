"""Identities with which clients ask MLflow: accounts of people, and the proxy that adds a pod's own token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, ResourceOptions

from components import mlflow_gateway, pods
from contract import names

PROXY = "mlflow-proxy"
"""Name of the proxy's container and of the ConfigMap with its configuration."""
CPU, MEMORY = "20m", "128Mi"
"""Requests of a proxy, whose memory is limited to its request."""
RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, kw_only=True)
class ClientProxy:
    """Proxy in the pod of a client of MLflow."""

    image: str
    """Image with the program `envoy`."""
    configuration: Input[str]
    """Name of the ConfigMap with the proxy's configuration."""


@dataclass(frozen=True, kw_only=True)
class MlflowIdentitiesArgs:
    """Namespaces of the identities, and the image of the proxy."""

    image: str
    """Image with the program `envoy`."""
    platform: Input[str]
    """Namespace of MLflow."""
    training: Input[str]
    """Namespace of training and validation Jobs."""


class MlflowIdentities(pulumi.ComponentResource):
    """Service accounts of people, rights to get their tokens, and the configuration of the clients' proxy.

    People read with the account `mlflow-people`, and promote and delete with `mlflow-promoter`. Administrators of the
    cluster get tokens of both. The groups of people get those that suit their other rights.
    """

    proxy: ClientProxy
    """Proxy for the pods of clients."""

    def __init__(self, name: str, args: MlflowIdentitiesArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:MlflowIdentities", name, None, opts)
        child = ResourceOptions(parent=self)
        for account in (names.PEOPLE, names.PROMOTER):
            k8s.core.v1.ServiceAccount(
                account, metadata=_metadata(account, args.platform), automount_service_account_token=False, opts=child
            )
        readers = (names.VIEWERS, names.TRAINERS, names.ONCALL, names.PREVIEWERS)
        _token_right(names.PEOPLE, args.platform, readers, child)
        _token_right(names.PROMOTER, args.platform, [names.ONCALL], child)
        _token_right("training", args.training, [names.TRAINERS], child)
        configuration = k8s.core.v1.ConfigMap(
            PROXY,
            # With a name of its own for each content, a new content would train every model again.
            metadata=_metadata(PROXY, args.training),
            data={
                "envoy.json": json.dumps(mlflow_gateway.client(), sort_keys=True),
                "token.json": json.dumps(mlflow_gateway.token(), sort_keys=True),
            },
            opts=child,
        )
        self.proxy = ClientProxy(image=args.image, configuration=configuration.metadata.name)
        self.register_outputs({})


def add_proxy(pod: k8s.core.v1.PodSpecArgsDict, proxy: ClientProxy) -> None:
    """Add the proxy to a pod, as a container that starts before the others and ends after them."""
    ready: k8s.core.v1.ProbeArgsDict = {
        "http_get": {"path": "/", "port": mlflow_gateway.READY_PORT},
        "period_seconds": 1,
        "failure_threshold": 60,
    }
    before = pod.get("init_containers", [])
    volumes = pod.get("volumes", [])
    assert isinstance(before, list)
    assert isinstance(volumes, list)
    pod["init_containers"] = [
        {
            **envoy(PROXY, proxy.image),
            "startup_probe": ready,
            "volume_mounts": [CONFIGURATION, TOKENS],
        },
        *before,
    ]
    pod["volumes"] = [*volumes, configuration(proxy.configuration), tokens()]


def envoy(name: str, image: str) -> k8s.core.v1.ContainerArgsDict:
    """Return a container that runs Envoy beside the others of its pod, without volumes."""
    return {
        "name": name,
        "image": image,
        "command": ["envoy", "--config-path", f"{mlflow_gateway.CONFIGURATION}/envoy.json"],
        # Without hot restarts, Envoy needs no shared memory.
        "args": ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"],
        "restart_policy": "Always",
        "resources": pods.resources(CPU, MEMORY),
        "security_context": pods.HARDENED_CONTAINER,
        "termination_message_policy": "FallbackToLogsOnError",
    }


CONFIGURATION: k8s.core.v1.VolumeMountArgsDict = {
    "name": "envoy",
    "mount_path": mlflow_gateway.CONFIGURATION,
    "read_only": True,
}
TOKENS: k8s.core.v1.VolumeMountArgsDict = {"name": "token", "mount_path": mlflow_gateway.TOKENS, "read_only": True}


def configuration(config_map: Input[str]) -> k8s.core.v1.VolumeArgsDict:
    """Return the volume with Envoy's configuration."""
    return {"name": "envoy", "config_map": {"name": config_map}}


def tokens(*, for_api_server: bool = False) -> k8s.core.v1.VolumeArgsDict:
    """Return the volume with the pod's token for MLflow, or for the API server with the CA of its certificate."""
    sources = [pods.token(), pods.CLUSTER_CA] if for_api_server else [pods.token(names.TRACKING_AUDIENCE)]
    return {"name": "token", "projected": {"sources": sources}}


def _token_right(account: str, namespace: Input[str], groups: Sequence[str], child: ResourceOptions) -> None:
    """Let groups of people get tokens of one service account."""
    name = f"{account}-token"
    k8s.rbac.v1.Role(
        name,
        metadata=_metadata(name, namespace),
        rules=[
            {
                "api_groups": [""],
                "resources": ["serviceaccounts/token"],
                "resource_names": [account],
                "verbs": ["create"],
            }
        ],
        opts=child,
    )
    k8s.rbac.v1.RoleBinding(
        name,
        metadata=_metadata(name, namespace),
        role_ref={"api_group": RBAC, "kind": "Role", "name": name},
        subjects=[{"api_group": RBAC, "kind": "Group", "name": group} for group in groups],
        opts=child,
    )


def _metadata(name: str, namespace: Input[str]) -> k8s.meta.v1.ObjectMetaArgsDict:
    return {"name": name, "namespace": namespace, "labels": names.labels(name, name, "identity")}
