"""S3 gateway in the cluster, for foundations without a cloud's buckets."""

from __future__ import annotations

import hmac
import json
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
BUCKET = names.LOCAL_BUCKET
HEALTH = "/health"
EGRESS = stateful.egress(NAME, PORT)
VALIDATION = "validation"
"""Access key ID of the account with which validations read models and datasets, and write reports."""
SECRETS = {"ACCOUNTS": "accounts", "ROOT_ACCESS_KEY": "access_key", "ROOT_SECRET_KEY": "secret_key"}
"""Key in the Secret, by environment variable of the gateway."""


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
    """Access key ID of the account that owns the bucket."""
    secret_key: Input[str]
    """Secret access key of the account that owns the bucket."""


class S3Gateway(pulumi.ComponentResource):
    """Gateway that serves a folder on one volume as S3, with the bucket `mlops-artifacts`.

    A second account, `validation`, reads models and datasets and writes reports only.
    """

    endpoint: Output[str]
    """URL for S3 clients inside the cluster; it resolves when the gateway is ready."""

    def __init__(self, name: str, args: S3GatewayArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:S3Gateway", name, None, opts)
        child = ResourceOptions(parent=self)
        secret = k8s.core.v1.Secret(
            name,
            metadata={"namespace": args.namespace},
            string_data={
                "access_key": args.access_key,
                "secret_key": args.secret_key,
                "accounts": _accounts(validation_key(args.secret_key)),
            },
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


def validation_key(secret_key: Input[str]) -> Output[str]:
    """Return the secret access key of the account `validation`, which does not reveal the key that it is made from."""
    return Output.from_input(secret_key).apply(
        lambda key: hmac.new(key.encode(), VALIDATION.encode(), "sha256").hexdigest()
    )


def _accounts(secret: Output[str]) -> Output[str]:
    """Return the gateway's accounts, besides the owner of the bucket, in the format of versitygw."""
    validation = {"access": VALIDATION, "secret": secret, "role": "user"}
    return Output.json_dumps({"accessAccounts": {VALIDATION: validation}})


def _policy() -> str:
    """Return the bucket's policy: a validation reads all but the prediction logs, and writes reports.

    Datasets of a local stack may lie anywhere in the bucket; on AWS, the role names the prefixes that it reads.
    """
    bucket = f"arn:aws:s3:::{BUCKET}"
    rights = (
        ("Allow", "s3:ListBucket", bucket),
        ("Allow", "s3:GetObject", f"{bucket}/*"),
        ("Deny", "s3:GetObject", f"{bucket}/predictions/*"),
        ("Allow", "s3:PutObject", f"{bucket}/{names.VALIDATION_REPORTS}/*"),
    )
    statements = [
        {"Effect": effect, "Principal": {"AWS": [VALIDATION]}, "Action": [action], "Resource": [resource]}
        for effect, action, resource in rights
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


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
            *pods.environment(
                {
                    "BUCKETS": BUCKET,
                    "BUCKET_POLICY": _policy(),
                    "DATA_DIR": "/data",
                    "PORT": str(PORT),
                    "VGW_HEALTH": HEALTH,
                }
            ),
            *(
                {"name": name, "value_from": {"secret_key_ref": {"name": secret, "key": key}}}
                for name, key in SECRETS.items()
            ),
        ],
        ready={"http_get": {"path": HEALTH, "port": PORT}},
    )
