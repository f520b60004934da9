"""Settings of the versions beside the served one: challenger and shadow, with their rules."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, StringConstraints

from infra.config import gate, rules
from infra.config.endpoint import ReplicaRange
from infra.config.quantities import octets
from infra.config.rules import Rule
from infra.config.section import Model

LONGEST_NAME = 52
"""Largest length of the name of an endpoint with a challenger or a shadow: NAME-challenger is a Service too."""
SUFFIXES = ("champion", "challenger", "shadow", "router")
"""Ends of the names of the objects that belong to an endpoint with a challenger or a shadow."""
NOT_KEYS = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
    *("accept", "accept-encoding", "content-encoding", "content-length", "content-type", "expect", "host"),
    *("authorization", "cookie", "traceparent", "x-request-id", "x-model-version", "x-model-role"),
}
"""Headers that belong to one connection, describe the body, name the request or hold a secret."""


def _a_key(header: str) -> str:
    if header.lower() in NOT_KEYS or header.lower().startswith(("x-envoy-", "x-forwarded-", "x-mlops-")):
        raise ValueError(header)
    return header


Percent = Annotated[
    int,
    Field(strict=True, ge=1, le=50),
    Rule(
        must="must be a whole number of percent from 1 to 50",
        because="the challenger answers at most half of the callers until it is the served version",
        instead="write it as in percent: 10, or write the version under version to serve it to all",
    ),
]
Copied = Annotated[
    int,
    Field(strict=True, ge=1, le=100),
    Rule(
        must="must be a whole number of percent from 1 to 100",
        because="it is the share of the requests that is copied to the shadow",
        instead="write it as in percent: 20, or leave the key out for all of them",
    ),
]
KeyHeader = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$"),
    AfterValidator(_a_key),
    Rule(
        must="must be the name of a request header that stays the same for one caller",
        because="requests with the same value get the same version; hop-by-hop headers, headers about the body or the "
        "request, and headers with secrets do not name a caller",
        instead="write the header in which your clients send the customer or the account, as in key: X-Customer-Id",
    ),
]
Experiment = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"),
    Rule(
        must="must be a name of at most 63 of the characters a-z, 0-9, dot, _ and -",
        because="callers are split by it and their keys, and the prediction log and the reports show it",
        instead="write it as in experiment: trees-2026-12",
    ),
]
ANOTHER_VERSION = Rule(
    must="must name a version that the endpoint does not have yet",
    because="a comparison of a version with itself shows nothing",
    instead="write the number of the version to compare, or remove the entry",
)
LOGGED = Rule(
    must="must be used with prediction_log",
    because="the versions are compared by the prediction log",
    instead="write prediction_log: {} beside it, or settings of your own",
)
ENVOY = Rule(
    must="must be used with mlops:images.envoy",
    because="Envoy splits and copies the requests, and verifies the tokens of callers",
    instead="write the image of Envoy, with bash, as in mlops:images.envoy: envoyproxy/envoy:v1.40.0@sha256:...",
)
MEMORY = Rule(
    must="must have the memory that the endpoint's max_body_mib and model_mib need",
    because="decoded rows need up to twenty times the size of a body, and the model is loaded into memory",
    instead="raise memory, or leave it out for that of the endpoint",
)
SHORT_NAME = Rule(
    must=f"must be used in an endpoint whose name has at most {LONGEST_NAME} characters",
    because="the Service of each version is named NAME-challenger, and a name has at most 63 characters",
    instead="serve the model under a shorter name: write model: with the model's name in an entry with another name",
)
OWN_NAMES = Rule(
    must="must be used while no other endpoint is named NAME-champion, NAME-challenger, NAME-shadow or NAME-router",
    because="objects of an endpoint with a challenger, a shadow or auth have these names",
    instead="rename the other endpoint",
)


class SecondVersion(Model):
    """Version of an endpoint beside the served one."""

    version: rules.Version
    """Version of the registered model. Example: 8"""
    digest: gate.Digest | None = None
    """SHA-256 of the version's files; a version with other files is refused.
    Example: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    """
    replicas: ReplicaRange | None = None
    """Smallest and largest number of the version's pods. Default: `replicas` of the endpoint."""
    cpu: rules.Cpu | None = None
    """CPU request of one of the version's pods. Default: `cpu` of the endpoint. Example: 500m"""
    memory: rules.Memory | None = None
    """Memory request and limit of one of the version's pods. Default: `memory` of the endpoint. Example: 2Gi"""


class Challenger(SecondVersion):
    """Second version of an endpoint, which answers a share of the callers (docs/two-versions.md)."""

    percent: Percent
    """Share of the callers, by `key`, that the challenger answers, 1 to 50. Example: 10"""
    key: KeyHeader
    """Request header with the caller. One value always gets the same version; requests without it get the served one.
    Example: X-Customer-Id
    """
    experiment: Experiment
    """Name of the experiment; each name splits the callers independently. Example: trees-2026-12"""
    override: rules.Truth = False
    """Whether a client may choose one of the two versions by the request header X-Model-Version. Example: true"""


class Shadow(SecondVersion):
    """Version of an endpoint that gets copies of requests; its responses are logged and dropped."""

    percent: Copied = 100
    """Share of the requests that is copied, 1 to 100. Example: 20"""


Arm = TypeVar("Arm", Challenger, Shadow, None)


def checked(arm: Arm, endpoint: Mapping[str, Any], *, bodies: int) -> Arm:
    """Return the entry after its checks against the other keys of the endpoint that come before it.

    A pod needs memory for `bodies` times the largest body.
    """
    if arm is None:
        return arm
    challenger: Challenger | None = endpoint.get("challenger")
    if arm.version in {endpoint.get("version"), challenger and challenger.version}:
        raise ANOTHER_VERSION.broken(f"version {arm.version} twice")
    if endpoint.get("prediction_log", arm) is None:
        raise LOGGED.broken("used without prediction_log")
    least = max(bodies * endpoint.get("max_body_mib", 0), (endpoint.get("model_mib") or 0) + 1)
    if arm.memory and octets(arm.memory) < least << 20:
        raise MEMORY.broken(f"used with memory {arm.memory}, less than {least}Mi")
    return arm


def check_names(name: str, others: Sequence[str]) -> None:
    """Raise the problem of an endpoint with a challenger or a shadow whose objects' names are too long or taken."""
    if len(name) > LONGEST_NAME:
        raise SHORT_NAME.broken(f"used in {name}, which has {len(name)} characters")
    if taken := sorted({f"{name}-{suffix}" for suffix in SUFFIXES} & set(others)):
        raise OWN_NAMES.broken(f"used in {name} while there is an endpoint {taken[0]}")
