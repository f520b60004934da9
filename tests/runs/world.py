"""Fake cluster with one state for each poll, which `tests/runs/kubectl.py` prints."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deployed import deployed

Object = dict[str, Any]
JOB = "churn-x7k2p"
MADE = "2026-03-01T12:00:00Z"


@dataclass(frozen=True)
class World:
    """Fake cluster. The fake kubectl reads `folder`."""

    folder: Path

    def scenes(self, *scenes: Sequence[Object]) -> None:
        """Set the objects of the cluster for each poll; the last state stays."""
        for number, objects in enumerate(scenes):
            (self.folder / "scenes" / f"{number:03}").write_text(json.dumps(objects))

    def log(self, pod: str, *lines: str, breaks_after: int | None = None, goes_on: bool = False) -> None:
        """Set the log of a pod, one line each second; the first connection can break, or the pod can continue."""
        times = (f"2026-03-01T12:00:{second:02}.{second:09}Z" for second in range(len(lines)))
        written = "".join(f"{time} {line}\n" for time, line in zip(times, lines, strict=True))
        (self.folder / "logs" / pod).write_text(written)
        if breaks_after is not None:
            (self.folder / "logs" / f"{pod}.breaks-after").write_text(str(breaks_after))
        if goes_on:
            (self.folder / "logs" / f"{pod}.goes-on").touch()

    @property
    def created(self) -> Object | None:
        """The first created Job."""
        return next(iter(self.all_created), None)

    @property
    def all_created(self) -> list[Object]:
        """The created Jobs, in order."""
        file = self.folder / "created"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def asked(self) -> list[str]:
        """The command lines of kubectl, in order."""
        return [" ".join(json.loads(line)) for line in (self.folder / "asked").read_text().splitlines()]


def template(changes: Mapping[str, object] | None = None, *, name: str = "churn") -> Object:
    """Return the CronJob of a training job as the cluster has it."""
    declared = deployed(changes).one(":CronJob", name).inputs
    made: Object = json.loads(json.dumps(declared))
    made["metadata"] |= {"uid": "0c7d", "creationTimestamp": MADE}
    return made


def validation(changes: Mapping[str, object] | None = None, *, name: str = "churn") -> Object:
    """Return the CronJob that validates the versions of a training job."""
    return template(changes, name=f"{name}-validation")


def deployment(endpoint: str, changes: Mapping[str, object] | None = None) -> Object:
    """Return the Deployment of an endpoint as the cluster has it."""
    made: Object = json.loads(json.dumps(deployed(changes).one(":Deployment", endpoint).inputs))
    return {"kind": "Deployment", **made}


def job(template: Object, *, name: str = JOB, status: Object | None = None, **metadata: Any) -> Object:
    """Return a Job of the CronJob in some state."""
    made = deepcopy(template["spec"]["jobTemplate"])
    labels = {**made["metadata"]["labels"], "app.kubernetes.io/managed-by": "runs"}
    return {
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "creationTimestamp": MADE, **metadata},
        "spec": made["spec"],
        "status": status or {"startTime": MADE},
    }


def complete() -> Object:
    """Status of a Job that took a minute and 35 seconds."""
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-03-01T12:01:35Z"}
    return {"startTime": MADE, "completionTime": "2026-03-01T12:01:35Z", "conditions": [condition]}


def failed(reason: str, message: str) -> Object:
    """Status of a Job that failed after ten minutes."""
    condition = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-03-01T12:10:00Z"}
    return {"startTime": MADE, "conditions": [condition | {"reason": reason, "message": message}]}


def pod(phase: str, *, name: str = f"{JOB}-aaaaa", of: str = JOB, index: str | None = None, **status: Any) -> Object:
    """Return a pod of a Job."""
    labels = {
        "app.kubernetes.io/component": "training",
        "app.kubernetes.io/instance": "churn",
        "batch.kubernetes.io/job-name": of,
        **({"batch.kubernetes.io/job-completion-index": index} if index else {}),
    }
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "creationTimestamp": MADE},
        "status": {"phase": phase, **status},
    }


def unschedulable(message: str) -> Object:
    """Status of a pod that cannot be scheduled."""
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


def container(**state: Any) -> Object:
    """Status of a pod whose container is in a state, as in running={}."""
    return {"containerStatuses": [{"name": "train", "state": state}]}


def ended(code: int, message: str = "", reason: str = "") -> Object:
    """Status of a pod whose container ended."""
    state = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": message}
    return container(terminated=state)


def broken_before(code: int, message: str) -> Object:
    """Status of a pod whose init container failed, so that its container never started."""
    failed = {"terminated": {"exitCode": code, "reason": "Error", "message": message}}
    return {
        **container(waiting={"reason": "PodInitializing"}),
        "initContainerStatuses": [{"name": "code", "state": failed}],
    }


def warning(about: str, message: str) -> Object:
    """Return a warning event."""
    metadata = {"name": f"{about}.1"}
    return {"kind": "Event", "metadata": metadata, "involvedObject": {"name": about}, "message": message}


def event(about: str, reason: str, at: str, **metadata: Any) -> Object:
    """Return an event about a Job, which may be deleted."""
    return {
        "kind": "Event",
        "metadata": {"name": f"{about}.{reason}", "creationTimestamp": at, **metadata},
        "involvedObject": {"kind": "Job", "name": about},
        "reason": reason,
        "firstTimestamp": at,
        "message": reason,
    }


def row(said: str, run: str) -> str:
    """Return the line of a run in the table, with single spaces between words."""
    (line,) = [line for line in said.splitlines() if line.startswith(run)]
    return " ".join(line.split())
