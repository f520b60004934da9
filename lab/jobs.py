"""The training Jobs of the cluster, watched until they end."""

import time
from collections.abc import Sequence
from typing import Any

from lab.board import Board, Say
from lab.errors import LabError
from lab.reach import Kube

NAMESPACE = "ml-training"
SECONDS_BETWEEN_LOOKS = 1.0


def failed(kube: Kube, names: Sequence[str]) -> list[str]:
    """The Jobs of the training runs `names` that gave up."""
    return [job["metadata"]["name"] for job in _jobs(kube, names) if _condition(job, "Failed")]


def wait_for_training(kube: Kube, names: Sequence[str], board: Board) -> None:
    """Every Job of the training runs `names` is complete. LabError with the last log line of one that failed."""
    for job in _jobs(kube, names):
        if not _condition(job, "Complete"):
            with board.line(f"training {_instance(job)}") as line:
                _wait(kube, job["metadata"]["name"], line.at)


def _wait(kube: Kube, job: str, say: Say) -> None:
    while True:
        [now] = kube.items("job", job, "--namespace", NAMESPACE) or [None]
        if now is None:
            raise LabError(f"Job {job} was deleted while it was waited for; `make up` makes it again.")
        if _condition(now, "Complete"):
            return
        pods = kube.items("pod", "--namespace", NAMESPACE, "--selector", f"batch.kubernetes.io/job-name={job}")
        if failure := _condition(now, "Failed"):
            raise LabError(
                f"Training failed ({failure.get('message', 'no reason given')}): {_last_words(kube, pods)}\n"
                f"`lab kubectl logs -n {NAMESPACE} job/{job}` has the whole log; `make up` tries again."
            )
        say(_last_words(kube, pods))
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _last_words(kube: Kube, pods: list[dict[str, Any]]) -> str:
    """What the newest pod of a Job is at: its last log line, or why it does not run."""
    if not pods:
        return "no pod yet"
    pod = max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])
    for status in pod["status"].get("containerStatuses", []):
        if waiting := status["state"].get("waiting"):
            return " ".join(filter(None, [waiting.get("reason"), waiting.get("message")]))
        log = kube.kubectl("logs", pod["metadata"]["name"], "--namespace", NAMESPACE, "--tail", "1").strip()
        return log or f"{pod['status']['phase']}, no log line yet"
    reasons = [str(c["message"]) for c in pod["status"].get("conditions", []) if c.get("message")]
    return reasons[0] if reasons else pod["status"]["phase"]


def _jobs(kube: Kube, names: Sequence[str]) -> list[dict[str, Any]]:
    found = kube.items("job", "--namespace", NAMESPACE, "--selector", "app.kubernetes.io/managed-by=pulumi")
    return [job for job in found if _instance(job) in names]


def _instance(job: dict[str, Any]) -> str:
    return job["metadata"].get("labels", {}).get("app.kubernetes.io/instance", "")


def _condition(job: dict[str, Any], kind: str) -> dict[str, Any] | None:
    conditions = job.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)
