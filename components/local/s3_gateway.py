"""S3 gateway in the cluster, for foundations without a cloud's buckets."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods
from components.local import stateful
from components.service import service
from contract import names

NAME = "s3"
PORT = 7070
BUCKET = "mlops-artifacts"
HEALTH = "/health"
EGRESS = stateful.egress(NAME, PORT)


@dataclass(frozen=True, kw_only=True)
class S3GatewayArgs:
    """Settings of the S3 gateway."""

    namespace: Input[str]
    """Namespace of the gateway."""
    priority_class: Input[str]
    """Name of the pod's PriorityClass."""
    image: str
    """Image of the gateway."""
    storage_gib: int
    """Size of the volume in GiB."""
    access_key: Input[str]
    """Access key ID of the gateway's only account."""
    secret_key: Input[str]
    """Secret access key of the gateway's only account."""


class S3Gateway(pulumi.ComponentResource):
    """Gateway that serves a folder on one volume as S3, with the bucket `mlops-artifacts`."""

    endpoint: Output[str]
    """URL for S3 clients inside the cluster; it resolves when the gateway is ready."""

    def __init__(self, name: str, args: S3GatewayArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:S3Gateway", name, None, opts)
        child = ResourceOptions(parent=self)
        secret = k8s.core.v1.Secret(
            name,
            metadata={"namespace": args.namespace},
            string_data={"access_key": args.access_key, "secret_key": args.secret_key},
            opts=child,
        )
        store = _store(args, secret.metadata.name)
        metadata = stateful.metadata(store, args.namespace)
        entry = service(name, names.selector(NAME, NAME), PORT, PORT, metadata=metadata, opts=child)
        pod = k8s.apps.v1.StatefulSet(
            name,
            metadata=metadata,
            spec=stateful.stateful_set_spec(store),
            opts=ResourceOptions(parent=self, custom_timeouts=stateful.TIMEOUTS),
        )
        k8s.networking.v1.NetworkPolicy(
            name,
            metadata={"namespace": args.namespace},
            spec=stateful.ingress_policy_spec(store, _clients()),
            opts=child,
        )
        self.endpoint = Output.concat("http://", entry.metadata.name, ".", pod.metadata.namespace, f":{PORT}")
        self.register_outputs({"endpoint": self.endpoint})


def _clients() -> list[k8s.networking.v1.NetworkPolicyPeerArgsDict]:
    return [
        {"pod_selector": {"match_labels": names.TRACKING_PODS}},
        *(
            {"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": namespace}}}
            for namespace in (names.TRAINING, names.SERVING)
        ),
    ]


def _store(args: S3GatewayArgs, secret: Input[str]) -> stateful.Store:
    return stateful.Store(
        name=NAME,
        component="artifact-store",
        image=args.image,
        priority_class=args.priority_class,
        port=PORT,
        storage_gib=args.storage_gib,
        environment=[
            *pods.environment({"BUCKETS": BUCKET, "DATA_DIR": "/data", "PORT": str(PORT), "VGW_HEALTH": HEALTH}),
            {"name": "ROOT_ACCESS_KEY", "value_from": {"secret_key_ref": {"name": secret, "key": "access_key"}}},
            {"name": "ROOT_SECRET_KEY", "value_from": {"secret_key_ref": {"name": secret, "key": "secret_key"}}},
        ],
        ready={"http_get": {"path": HEALTH, "port": PORT}},
    )
