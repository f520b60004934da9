"""Settings of an endpoint's ingress: a host of its own, or a path of a host that several endpoints share."""

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from infra.config.aws import Ingress
from infra.config.rules import Rule

PAGES = frozenset({"docs", "health", "invocations", "metrics", "openapi.json", "ping", "schema", "version"})
"""Paths of the model server, with which no path of an ingress may begin."""


def _no_page(path: str) -> str:
    if path.split("/")[1] in PAGES:
        raise ValueError(path)
    return path


Path = Annotated[
    str,
    StringConstraints(pattern=r"^(/[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)+$", max_length=100),
    AfterValidator(_no_page),
    Rule(
        must="must be a path of letters, digits, - and _ that begins with / and does not end with it",
        because="the load balancer routes by it and the endpoint removes it; dots, or a slash at the end, would give "
        "one path two spellings, and paths such as /invocations are the endpoint's own",
        instead="write it as in path: /churn, or leave the key out for a host of the endpoint's own",
    ),
]
APART = Rule(
    must="must have another host, or a path that is not below another endpoint's",
    because="the load balancer routes a request to one endpoint, by its host and the beginning of its path",
    instead="write paths such as /churn and /fraud, or give each its own host",
)
ALIKE = Rule(
    must="must have the same scheme, certificate_arn, cidrs and idle_timeout_seconds for each path of a host",
    because="one load balancer answers for the host",
    instead="write the same values for all endpoints of the host, or give this endpoint another host",
)


class EndpointIngress(Ingress):
    """A load balancer in front of an endpoint; endpoints with paths of one host share it."""

    path: Path | None = None
    """Beginning of the requests' paths, which the endpoint removes: /churn/invocations is its /invocations. Without it,
    the endpoint has the host for itself.
    Example: /churn
    """

    @property
    def url(self) -> str:
        """URL for clients outside the cluster."""
        return f"{super().url}{self.path or ''}"


def check(ingresses: Mapping[str, Ingress]) -> None:
    """Raise the problem of two ingresses with the same requests, or that one load balancer cannot serve.

    Args:
        ingresses: ingresses by their names in messages, MLflow's among them.
    """
    for (other, theirs), (name, ours) in combinations(ingresses.items(), 2):
        if ours.host != theirs.host:
            continue
        if _path(ours).startswith(_path(theirs)) or _path(theirs).startswith(_path(ours)):
            raise APART.broken(f"{_shown(theirs)} in {other} and {_shown(ours)} in {name}")
        if _shared(ours) != _shared(theirs):
            raise ALIKE.broken(f"different for {ours.host} in {other} and in {name}")


def _path(ingress: Ingress) -> str:
    """Return the path with a slash at its end, so that /churn is not the beginning of /churner."""
    return f"{getattr(ingress, 'path', None) or ''}/"


def _shown(ingress: Ingress) -> str:
    return f"{ingress.host}{_path(ingress)}"


def _shared(ingress: Ingress) -> tuple[object, ...]:
    return ingress.scheme, ingress.certificate_arn, ingress.cidrs, ingress.idle_timeout_seconds
