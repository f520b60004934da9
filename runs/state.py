"""State of a Job and its pods, for people."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from contract import names
from contract.exit_codes import ExitCode
from runs.cluster import Cluster, Object
from runs.declared import GIVEN, selector

JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
FINAL = (ExitCode.BAD_INPUT, ExitCode.REFUSED)
"""Exit codes of the containers after which Kubernetes does not retry, because another try would end in the same way."""

Status = Literal["Waiting", "Pending", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One attempt of a run, or of one point of a sweep."""

    pod: Object

    @property
    def name(self) -> str:
        """Name in the cluster."""
        return self.pod["metadata"]["name"]

    @property
    def index(self) -> str | None:
        """Index of the sweep's point; None outside a sweep."""
        return self.pod["metadata"].get("labels", {}).get(INDEX)

    @property
    def has_started(self) -> bool:
        """True if the container has started, so that it has a log."""
        return "running" in self._state or "terminated" in self._state

    @property
    def is_ready(self) -> bool:
        """True if the container runs and its readiness probe succeeded."""
        return any(status["ready"] for status in self.pod["status"].get("containerStatuses", []))

    @property
    def exit_code(self) -> int | None:
        """Exit code of the container; None before it ends."""
        return self._terminated.get("exitCode")

    @property
    def summary(self) -> str:
        """Phase of the pod, and the reason if it does not run or has failed."""
        phase = self.pod["status"].get("phase", "Pending")
        return ": ".join([phase, *dict.fromkeys(filter(None, self._reasons()))])

    def _reasons(self) -> Iterator[str]:
        """Yield why the container waits or failed, or why the pod was not started; texts may be empty or repeated."""
        status = self.pod["status"]
        ended = self._terminated
        if (waiting := self._state.get("waiting")) and not ended:
            yield waiting.get("reason", "")
            yield waiting.get("message", "")
        if ended.get("exitCode"):
            yield "" if ended.get("reason") == "Error" else ended.get("reason", "")
            yield f"exit code {ended['exitCode']}"
        if not self._state:
            yield status.get("reason", "")
            yield status.get("message", "")
            yield from (each.get("message", "") for each in status.get("conditions", []) if each["status"] == "False")

    @property
    def failure(self) -> str:
        """Reason of a failure, from the container's termination message; empty if it has none."""
        message = self._terminated.get("message", "")
        return (message.strip().splitlines() or [""])[-1]

    @property
    def _terminated(self) -> dict[str, Any]:
        """State of the terminated container, or of an init container that failed; empty before the end."""
        first = [
            status["state"].get("terminated", {}) for status in self.pod["status"].get("initContainerStatuses", [])
        ]
        return next((ended for ended in first if ended.get("exitCode")), self._state.get("terminated", {}))

    @property
    def _state(self) -> dict[str, Any]:
        """State of the container; empty before it exists."""
        statuses = self.pod["status"].get("containerStatuses", [])
        return statuses[0]["state"] if statuses else {}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A Job with its pods, in the order of their creation."""

    job: Object
    pods: Sequence[Pod]

    @property
    def name(self) -> str:
        """Name of the Job."""
        return self.job["metadata"]["name"]

    @property
    def training(self) -> str:
        """Training job of the run, a key under mlops:training."""
        instance = self.job["metadata"]["labels"].get(names.INSTANCE, "")
        return instance.removesuffix(names.validation("")) if self.is_validation else instance

    @property
    def is_validation(self) -> bool:
        """True if the run validates a version, False if it trains one."""
        return names.VALIDATIONS.items() <= self.job["metadata"]["labels"].items()

    @property
    def made_by(self) -> str:
        """Program that created the Job: `pulumi`, `cronjob`, `runs` or, after drift, `drift`."""
        return self.job["metadata"]["labels"].get(names.MANAGED_BY, "")

    @property
    def given(self) -> Mapping[str, object]:
        """Values that differ from the declaration; empty if the annotation is not that of `mlops train`."""
        try:
            read: object = json.loads(self.job["metadata"].get("annotations", {}).get(GIVEN, "{}"))
        except ValueError:
            return {}
        return cast("Mapping[str, object]", read) if isinstance(read, dict) else {}

    @property
    def experiment(self) -> str:
        """Name of the run's MLflow experiment."""
        containers = self.job["spec"]["template"]["spec"]["containers"]
        variables = [entry for container in containers for entry in container.get("env", [])]
        return next((entry.get("value", "") for entry in variables if entry["name"] == "EXPERIMENT"), "")

    @property
    def points(self) -> int | None:
        """Number of points of the sweep; None outside a sweep."""
        spec = self.job["spec"]
        return spec["completions"] if spec.get("completionMode") == "Indexed" else None

    @property
    def status(self) -> Status:
        """Status of the run. Waiting means that no pod exists, or that the next one is not created yet."""
        if self.has_ended:
            return "Succeeded" if self._condition("Complete") else "Failed"
        phases = {pod.pod["status"].get("phase") for pod in self.pods}
        return "Running" if "Running" in phases else "Pending" if "Pending" in phases else "Waiting"

    @property
    def has_ended(self) -> bool:
        """True if the Job is complete or has finally failed."""
        return bool(self._condition("Complete") or self._condition("Failed"))

    @property
    def reason(self) -> str:
        """Reason of the failure: the last termination message of a pod, else the message of Kubernetes."""
        failed, points = self._condition("Failed") or {}, self.job["status"].get("failedIndexes")
        messages = [pod.failure for pod in self.pods if pod.exit_code and pod.failure]
        of_job = ": ".join(filter(None, [failed.get("reason"), failed.get("message")]))
        return (f"points {points}: " if points else "") + (messages[-1] if messages else of_job or "no reason given")

    @property
    def progress(self) -> str:
        """Status, and for a sweep the number of points that succeeded."""
        done = self.job["status"].get("succeeded", 0)
        return f"{self.status} {done}/{self.points}" if self.points else self.status

    @property
    def exit_code(self) -> int:
        """Exit code for a command: 0 for success, the container's code if it is final, else 1."""
        if self.status == "Succeeded":
            return 0
        return next((code for pod in self.pods if (code := pod.exit_code) in FINAL and code), ExitCode.FAILED)

    @property
    def started(self) -> datetime:
        """Start time of the Job; before that, its creation time."""
        return _time(self.job["status"].get("startTime") or self.job["metadata"]["creationTimestamp"])

    def duration(self, now: datetime) -> timedelta:
        """Return the time from the start to the end, or until now."""
        ended = self._condition("Failed") or {}
        end = self.job["status"].get("completionTime") or ended.get("lastTransitionTime")
        return (_time(end) if end else now) - self.started

    def _condition(self, kind: str) -> Object | None:
        conditions: list[Object] = self.job["status"].get("conditions", [])
        return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def all_runs(cluster: Cluster, training: str | None = None) -> list[Run]:
    """Return the training runs in the cluster, or those of one training job, the latest last."""
    return _runs(cluster, selector(names.TRAINING_JOBS, training))


def all_validations(cluster: Cluster, training: str | None = None) -> list[Run]:
    """Return the validations in the cluster, or those of one training job, the latest last."""
    return _runs(cluster, selector(names.VALIDATIONS, training and names.validation(training)))


def all_notebooks(cluster: Cluster, training: str) -> list[Run]:
    """Return the Jobs in the cluster that run the notebook of a training job, the latest last."""
    return _runs(cluster, selector(names.NOTEBOOKS, training))


def _runs(cluster: Cluster, wanted: str) -> list[Run]:
    objects = sorted(cluster.items("jobs,pods", wanted), key=lambda each: each["metadata"]["creationTimestamp"])
    pods = [Pod(pod=each) for each in objects if each["kind"] == "Pod"]
    return [
        Run(job=job, pods=[pod for pod in pods if _job_of(pod) == job["metadata"]["name"]])
        for job in objects
        if job["kind"] == "Job"
    ]


def _job_of(pod: Pod) -> str:
    return pod.pod["metadata"].get("labels", {}).get(JOB_NAME, "")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
