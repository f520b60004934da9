"""MLflow's connection to its database: a verified certificate, and a user that owns this database only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components import pods
from components.foundation import Database

OWNER = "owner"
"""Name of the container that gives the database to MLflow's user."""
OWNER_PROGRAM = Path(__file__).with_name("database_owner.py")
"""Program of this container. A preview reads it as text, because it imports SQLAlchemy, which takes 0.3 s."""
AUTHORITY = "database-authority"
FOLDER = f"/etc/{AUTHORITY}"
FILE = "ca.crt"
"""File in FOLDER with the certificates of the authorities that Postgres' certificate is verified with."""
PASSWORDS = "database-user"
PASSWORD = "PGPASSWORD"
"""Environment variable from which libpq reads the password, so that it is in no URI, command line or log."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Settings that a container needs to connect to the database as MLflow's user."""

    uri: Input[str]
    """SQLAlchemy's URI of the database, without the password."""
    password: k8s.core.v1.EnvVarArgsDict
    """Environment variable with the password."""
    volumes: list[k8s.core.v1.VolumeArgsDict]
    """Volumes of the pod."""
    mounts: list[k8s.core.v1.VolumeMountArgsDict]
    """Mounts of the container."""
    owner: k8s.core.v1.ContainerArgsDict | None
    """Container that gives the database to MLflow's user before a migration; None if the user has it from the start."""
    owner_volumes: list[k8s.core.v1.VolumeArgsDict]
    """Volumes that only `owner` mounts."""


def connect(
    name: str, database: Database, image: str, metadata: k8s.meta.v1.ObjectMetaArgsDict, child: ResourceOptions
) -> Connection:
    """Create the objects that pods need to reach the database, and return how they use them.

    Args:
        name: name of the resources.
        database: database to connect to.
        image: image of MLflow, which has SQLAlchemy and libpq.
        metadata: metadata of the objects.
        child: options of the resources.
    """
    user = k8s.core.v1.Secret(name, metadata=metadata, string_data={PASSWORD: database.password}, opts=child)
    authority = k8s.core.v1.ConfigMap(
        f"{name}-{AUTHORITY}", metadata=metadata, data={FILE: database.authority}, opts=child
    )
    mount: k8s.core.v1.VolumeMountArgsDict = {"name": AUTHORITY, "mount_path": FOLDER, "read_only": True}
    owner: k8s.core.v1.ContainerArgsDict | None = None
    if database.administrator:
        administrator = k8s.core.v1.Secret(
            f"{name}-database-administrator",
            metadata=metadata,
            string_data={PASSWORD: database.administrator.password},
            opts=child,
        )
        owner = {
            "name": OWNER,
            "image": image,
            "command": ["python", "-c", OWNER_PROGRAM.read_text()],
            "args": [_uri(database, database.administrator.user), database.user, f"/etc/{PASSWORDS}/{PASSWORD}"],
            "env": [_password(administrator.metadata.name)],
            "resources": pods.resources("100m", "256Mi"),
            "security_context": pods.HARDENED_CONTAINER,
            "termination_message_policy": "FallbackToLogsOnError",
            "volume_mounts": [
                pods.TMP,
                mount,
                {"name": PASSWORDS, "mount_path": f"/etc/{PASSWORDS}", "read_only": True},
            ],
        }
    return Connection(
        uri=_uri(database, database.user),
        password=_password(user.metadata.name),
        volumes=[{"name": AUTHORITY, "config_map": {"name": authority.metadata.name}}],
        mounts=[mount],
        owner=owner,
        owner_volumes=[{"name": PASSWORDS, "secret": {"secret_name": user.metadata.name}}] if owner else [],
    )


def _uri(database: Database, user: str) -> Output[str]:
    """Return the URI with which libpq accepts only a certificate for the host, signed by one of the authorities."""
    verified = f"sslmode=verify-full&sslrootcert={FOLDER}/{FILE}"
    return Output.concat(
        f"postgresql+psycopg2://{user}@", database.host, f":{database.port}/{database.name}?{verified}"
    )


def _password(secret: Input[str]) -> k8s.core.v1.EnvVarArgsDict:
    return {"name": PASSWORD, "value_from": {"secret_key_ref": {"name": secret, "key": PASSWORD}}}
