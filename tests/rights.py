"""Requests to the Kubernetes API that kubectl sends, and whether declared roles allow them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.recording import Recording

GROUPS: Mapping[str, str] = {
    "cronjobs": "batch",
    "deployments": "apps",
    "horizontalpodautoscalers": "autoscaling",
    "jobs": "batch",
    "replicasets": "apps",
}
"""API group of each resource; the core group of any other."""


@dataclass(frozen=True, order=True)
class Request:
    """Request as the API server authorizes it; `resource` may have a subresource, as in `pods/log`."""

    namespace: str
    verb: str
    resource: str

    @property
    def group(self) -> str:
        """API group of the resource."""
        return GROUPS.get(self.resource.partition("/")[0], "")


def requests(arguments: Sequence[str]) -> Iterator[Request]:
    """Yield the requests of a kubectl command line, as `kubectl -v=8` prints them for the commands in use."""
    namespace = arguments[arguments.index("--namespace") + 1]
    verb = next(word for word in arguments if word in {"create", "get", "logs", "port-forward"})
    word = arguments[arguments.index(verb) + 1]
    match verb:
        case "create":
            yield Request(namespace, "create", "jobs")
        case "get":
            yield from (Request(namespace, "list", kind) for kind in word.split(","))
        case "logs":
            yield Request(namespace, "get", "pods")
            yield Request(namespace, "get", "pods/log")
        case _:
            yield Request(namespace, "get", "services")
            yield Request(namespace, "list", "pods")
            yield Request(namespace, "get", "pods")
            # A connection begins with GET, for which the API server also requires `create`; the fallback is POST.
            yield Request(namespace, "create", "pods/portforward")
            yield Request(namespace, "get", "pods/portforward")


def rules(recording: Recording, group: str, namespace: str) -> list[Mapping[str, Any]]:
    """Return the rules that the group has in the namespace; `cluster-admin`, which Kubernetes makes, has none."""
    roles = {each.metadata["name"]: each.inputs["rules"] for each in recording.all(":ClusterRole")}
    bound = [
        each.inputs["roleRef"]["name"]
        for each in (*recording.all(":RoleBinding"), *recording.all(":ClusterRoleBinding"))
        if group in {subject["name"] for subject in each.inputs["subjects"]}
        and each.metadata.get("namespace", namespace) == namespace
    ]
    return [rule for role in bound for rule in roles.get(role, [])]


def may(recording: Recording, group: str, request: Request) -> bool:
    """Return whether the group's roles allow the request."""
    return any(
        request.group in rule["apiGroups"] and request.resource in rule["resources"] and request.verb in rule["verbs"]
        for rule in rules(recording, group, request.namespace)
    )
