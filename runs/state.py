"""What a Job and its pods are at, in words."""

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
"""Exit codes of our containers after which another attempt would end in the same way."""

Status = Literal["Waiting", "Pending", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One attempt of a run, or of one point of a sweep."""

    pod: Object

    @property
    def name(self) -> str:
        """In the cluster."""
        return self.pod["metadata"]["name"]

    @property
    def index(self) -> str | None:
        """Which point of the sweep; None outside of one."""
        return self.pod["metadata"].get("labels", {}).get(INDEX)

    @property
    def has_started(self) -> bool:
        """Whether there is, or was, a log."""
        return "running" in self._state or "terminated" in self._state

    @property
    def exit_code(self) -> int | None:
        """None before the end."""
        return self._ending.get("exitCode")

    @property
    def words(self) -> str:
        """Its phase, and the reason where it does not run or did not end well."""
        phase = self.pod["status"].get("phase", "Pending")
        return ": ".join([phase, *dict.fromkeys(filter(None, self._reasons()))])

    def _reasons(self) -> Iterator[str]:
        status = self.pod["status"]
        ended = self._ending
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
    def last_words(self) -> str:
        """Why its container failed, as the container left it."""
        message = self._ending.get("message", "")
        return (message.strip().splitlines() or [""])[-1]

    @property
    def _ending(self) -> dict[str, Any]:
        """Of the one container, or of what went before it and failed; empty before the end."""
        first = [
            status["state"].get("terminated", {}) for status in self.pod["status"].get("initContainerStatuses", [])
        ]
        return next((ended for ended in first if ended.get("exitCode")), self._state.get("terminated", {}))

    @property
    def _state(self) -> dict[str, Any]:
        """Of the one container; empty before there is one."""
        statuses = self.pod["status"].get("containerStatuses", [])
        return statuses[0]["state"] if statuses else {}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A Job with its pods, in the order in which they were made."""

    job: Object
    pods: Sequence[Pod]

    @property
    def name(self) -> str:
        """The Job's."""
        return self.job["metadata"]["name"]

    @property
    def training(self) -> str:
        """The key under mlops:training that it is a run of."""
        instance = self.job["metadata"]["labels"].get(names.INSTANCE, "")
        return instance.removesuffix(names.validation("")) if self.is_validation else instance

    @property
    def is_validation(self) -> bool:
        """It looks at a version, and trains none."""
        return names.VALIDATIONS.items() <= self.job["metadata"]["labels"].items()

    @property
    def made_by(self) -> str:
        """`pulumi`, `cronjob` or `runs`."""
        return self.job["metadata"]["labels"].get(names.MANAGED_BY, "")

    @property
    def given(self) -> Mapping[str, object]:
        """What it has and its declaration has not; nothing where somebody else wrote the annotation."""
        try:
            read: object = json.loads(self.job["metadata"].get("annotations", {}).get(GIVEN, "{}"))
        except ValueError:
            return {}
        return cast("Mapping[str, object]", read) if isinstance(read, dict) else {}

    @property
    def experiment(self) -> str:
        """MLflow's, that it tells its results to."""
        containers = self.job["spec"]["template"]["spec"]["containers"]
        variables = [entry for container in containers for entry in container.get("env", [])]
        return next((entry.get("value", "") for entry in variables if entry["name"] == "EXPERIMENT"), "")

    @property
    def points(self) -> int | None:
        """How many the sweep has; None outside of one."""
        spec = self.job["spec"]
        return spec["completions"] if spec.get("completionMode") == "Indexed" else None

    @property
    def status(self) -> Status:
        """Waiting: there is no pod, or none that ended leaves another to come."""
        if self.has_ended:
            return "Succeeded" if self._condition("Complete") else "Failed"
        phases = {pod.pod["status"].get("phase") for pod in self.pods}
        return "Running" if "Running" in phases else "Pending" if "Pending" in phases else "Waiting"

    @property
    def has_ended(self) -> bool:
        """Kubernetes will start nothing more for it."""
        return bool(self._condition("Complete") or self._condition("Failed"))

    @property
    def reason(self) -> str:
        """Why it failed, in the words of its last pod that left some, else in those of Kubernetes."""
        failed, points = self._condition("Failed") or {}, self.job["status"].get("failedIndexes")
        left = [pod.last_words for pod in self.pods if pod.exit_code and pod.last_words]
        told = ": ".join(filter(None, [failed.get("reason"), failed.get("message")]))
        return (f"points {points}: " if points else "") + (left[-1] if left else told or "no reason given")

    @property
    def progress(self) -> str:
        """The status, and how many points have succeeded where there are several."""
        done = self.job["status"].get("succeeded", 0)
        return f"{self.status} {done}/{self.points}" if self.points else self.status

    @property
    def exit_code(self) -> int:
        """0 when it succeeded; where another try would end the same way, what it ended with; else 1."""
        if self.status == "Succeeded":
            return 0
        return next((code for pod in self.pods if (code := pod.exit_code) in FINAL and code), ExitCode.FAILED)

    @property
    def started(self) -> datetime:
        """When Kubernetes took it on; when it was made, where it has not yet."""
        return _time(self.job["status"].get("startTime") or self.job["metadata"]["creationTimestamp"])

    def duration(self, now: datetime) -> timedelta:
        """From its start to its end, or until now."""
        ended = self._condition("Failed") or {}
        end = self.job["status"].get("completionTime") or ended.get("lastTransitionTime")
        return (_time(end) if end else now) - self.started

    def _condition(self, kind: str) -> Object | None:
        conditions: list[Object] = self.job["status"].get("conditions", [])
        return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def all_runs(cluster: Cluster, training: str | None = None) -> list[Run]:
    """Every training run that is there, or those of one training job, the latest last."""
    return _runs(cluster, selector(names.TRAINING_JOBS, training))


def all_validations(cluster: Cluster, training: str | None = None) -> list[Run]:
    """The same of what looks at their versions."""
    return _runs(cluster, selector(names.VALIDATIONS, training and names.validation(training)))


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
