"""Recording of the program's resources, which many tests share."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from infra import program
from infra.config import stack
from tests.recording import Recording, record
from tests.stacks import LOCAL, SECRETS, changed


def deployed(changes: Mapping[str, object] | None = None, secrets: Mapping[str, str] | None = None) -> Recording:
    """Return what the program declares for the valid stack with some changes, and with further secrets."""
    config = changed(changes) if changes else LOCAL
    return record(lambda: program.deploy(stack.read()), config=config, secrets={**SECRETS, **(secrets or {})})


@cache
def local() -> Recording:
    """Return what the program declares for the valid stack."""
    return deployed()


def pod_specs(recording: Recording) -> dict[str, Any]:
    """Return the pod specs of all workloads, by type and name of the workload."""
    always = {
        f"{kind} {resource.name}": resource.spec["template"]["spec"]
        for kind in ("Deployment", "StatefulSet", "Job")
        for resource in recording.all(f":{kind}")
    }
    return always | {
        f"CronJob {resource.name}": resource.spec["jobTemplate"]["spec"]["template"]["spec"]
        for resource in recording.all(":CronJob")
    }


def containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all containers of a pod, init containers first."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(container: Mapping[str, Any]) -> dict[str, Any]:
    """Return a container's environment: for each name the value, or the reference to it."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
