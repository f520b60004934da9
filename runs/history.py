"""Runs whose Jobs are gone: replaced by `pulumi up`, deleted, or out of the history that the cluster keeps."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from runs.cluster import Object
from runs.tracking import Result

ENDS = {
    "Completed": "Succeeded",
    "BackoffLimitExceeded": "Failed",
    "DeadlineExceeded": "Failed",
    "FailedIndexes": "Failed",
    "PodFailurePolicy": "Failed",
}
"""Status of a Job, by the reason of an event about it."""
STATUS = {"FINISHED": "Succeeded", "FAILED": "Failed", "KILLED": "Failed"}
GONE = "Gone"
"""Status if nothing says how the run ended, for example because it was deleted while it ran."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """Run whose Job is gone."""

    name: str
    training: str
    status: str
    started: datetime
    duration: timedelta | None
    """Time from the start to the end of the run; None if nothing says when it ended."""


def of_tracking(results: Mapping[str, Result]) -> Iterator[Past]:
    """Yield the runs that MLflow knows."""
    for name, result in results.items():
        yield Past(
            name=name,
            training=result.training,
            status=STATUS.get(result.status, GONE),
            started=result.started,
            duration=result.ended - result.started if result.ended else None,
        )


def of_events(events: Sequence[Object], trainings: Collection[str], known: Collection[str]) -> Iterator[Past]:
    """Yield runs that only the cluster's events know, because they never reached MLflow.

    Args:
        events: events about Jobs of any kind.
        trainings: names of the training jobs; a Job's name is such a name with a suffix.
        known: names of Jobs to leave out.
    """
    about = sorted(events, key=lambda event: (event["involvedObject"]["name"], _time(event)))
    for name, several in groupby(about, key=lambda event: event["involvedObject"]["name"]):
        training, _, _ = name.rpartition("-")
        if name in known or training not in trainings:
            continue
        own = list(several)
        ends = [event for event in own if event.get("reason") in ENDS]
        yield Past(
            name=name,
            training=training,
            status=ENDS[ends[-1]["reason"]] if ends else GONE,
            started=_time(own[0]),
            duration=_time(ends[-1]) - _time(own[0]) if ends else None,
        )


def _time(event: Object) -> datetime:
    text = event.get("firstTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(text).astimezone(UTC)
