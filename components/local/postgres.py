"""Postgres in the cluster, for foundations without a managed database."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components.local import stateful
from components.service import service
from contract import names

NAME = "postgres"
PORT = 5432
USER = DATABASE = "mlflow"
EGRESS = stateful.egress(NAME, PORT)


@dataclass(frozen=True, kw_only=True)
class PostgresArgs:
    """Settings of Postgres."""

    namespace: Input[str]
    """Namespace of Postgres."""
    priority_class: Input[str]
    """Name of the pod's PriorityClass."""
    image: str
    """Image of Postgres."""
    storage_gib: int
    """Size of the volume in GiB."""
    password: Input[str]
    """Password of the user `mlflow`; the container sets it at each start, so a new password takes effect."""


class Postgres(pulumi.ComponentResource):
    """One Postgres pod on one volume, with database and user `mlflow`.

    It creates its certificate at the first start. It accepts only TLS connections, and only from MLflow's pods.
    """

    host: Output[str]
    """DNS name of the Service; it resolves when Postgres accepts connections."""

    def __init__(self, name: str, args: PostgresArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:Postgres", name, None, opts)
        child = ResourceOptions(parent=self)
        secret = k8s.core.v1.Secret(
            name, metadata={"namespace": args.namespace}, string_data={"password": args.password}, opts=child
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
            spec=stateful.ingress_policy_spec(store, [{"pod_selector": {"match_labels": names.TRACKING_PODS}}]),
            opts=child,
        )
        self.host = Output.concat(entry.metadata.name, ".", pod.metadata.namespace)
        self.register_outputs({"host": self.host})


def _store(args: PostgresArgs, secret: Input[str]) -> stateful.Store:
    return stateful.Store(
        name=NAME,
        component="database",
        image=args.image,
        priority_class=args.priority_class,
        port=PORT,
        storage_gib=args.storage_gib,
        environment=[
            {"name": "POSTGRES_DB", "value": DATABASE},
            {"name": "POSTGRES_PASSWORD", "value_from": {"secret_key_ref": {"name": secret, "key": "password"}}},
            {"name": "POSTGRES_USER", "value": USER},
        ],
        # The probe uses TCP, because Postgres listens only on its Unix socket while it initializes the volume.
        ready={"exec_": {"command": ["pg_isready", "--quiet", "--host=127.0.0.1"]}},
        scratch=("/var/run/postgresql",),
    )
