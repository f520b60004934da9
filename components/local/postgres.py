"""Postgres in the cluster, for foundations without a managed database."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components.local import certificate, stateful
from components.service import service
from contract import names

NAME = "postgres"
PORT = 5432
USER = DATABASE = "mlflow"
HOSTS = (f"{NAME}.{names.PLATFORM}", NAME, f"{NAME}.{names.PLATFORM}.svc")
"""Names of the Service, which the certificate names; clients of the platform use the first."""
TLS = "/etc/postgres-tls"
"""Folder with the certificate and its key."""
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

    It accepts only TLS connections, and only from MLflow's pods. Its certificate is made from the password.
    """

    host: Output[str]
    """DNS name of the Service; it resolves when Postgres accepts connections."""
    authority: Output[str]
    """Certificate (PEM) that clients trust."""

    def __init__(self, name: str, args: PostgresArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:Postgres", name, None, opts)
        child = ResourceOptions(parent=self)
        secret = k8s.core.v1.Secret(
            name, metadata={"namespace": args.namespace}, string_data={"password": args.password}, opts=child
        )
        tls = Output.from_input(args.password).apply(lambda password: certificate.from_password(password, HOSTS))
        pair = k8s.core.v1.Secret(
            f"{name}-tls",
            metadata={"namespace": args.namespace},
            type="kubernetes.io/tls",
            string_data={"tls.crt": tls.certificate, "tls.key": tls.key},
            opts=child,
        )
        store = _store(args, secret.metadata.name, pair.metadata.name)
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
        self.authority = Output.unsecret(tls.certificate)
        self.register_outputs({"host": self.host})


def _store(args: PostgresArgs, secret: Input[str], tls: Input[str]) -> stateful.Store:
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
            {"name": "TLS_DIR", "value": TLS},
        ],
        # The probe uses TCP, because Postgres listens only on its Unix socket while it initializes the volume.
        ready={"exec_": {"command": ["pg_isready", "--quiet", "--host=127.0.0.1"]}},
        scratch=("/var/run/postgresql",),
        secrets={TLS: tls},
    )
