"""Postgres in the cluster, where there is no managed database."""

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
    """`password` is set anew at each start, so a changed one takes effect."""

    namespace: Input[str]
    image: str
    storage_gib: int
    password: Input[str]


class Postgres(pulumi.ComponentResource):
    """One Postgres on one volume, with database and user `mlflow`.

    It makes itself a certificate at the first start and takes TLS connections alone, from MLflow's pods alone.
    """

    host: Output[str]
    """Name of its Service, known once it accepts connections."""

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
        port=PORT,
        storage_gib=args.storage_gib,
        environment=[
            {"name": "POSTGRES_DB", "value": DATABASE},
            {"name": "POSTGRES_PASSWORD", "value_from": {"secret_key_ref": {"name": secret, "key": "password"}}},
            {"name": "POSTGRES_USER", "value": USER},
        ],
        # Over TCP: while the first start still sets things up, Postgres listens on its socket alone.
        ready={"exec_": {"command": ["pg_isready", "--quiet", "--host=127.0.0.1"]}},
        scratch=("/var/run/postgresql",),
    )
