"""Check of the metrics that a training job names against the task of its model project."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from contract.tasks import ERRORS, METRICS, RANKED, Task
from infra.config.problems import Problem, shown
from infra.config.rules import Rule

KNOWN = {name for names in METRICS.values() for name in names}


def problems(task: Task, path: str, job: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each metric of the job's limits and sweep that models of the task do not have.

    Names that no task has are the business of the settings' own rules.
    """
    limits = _mapping(_mapping(job.get("validation")).get("limits"))
    for key in ("least", "most", "slice_least"):
        for name in _mapping(limits.get(key)):
            yield from _unknown(task, f"{path}.validation.limits.{key}.{name}", name)
    compared = limits.get("compared")
    for place, name in enumerate(cast("list[object]", compared) if isinstance(compared, list) else ()):
        yield from _unknown(task, f"{path}.validation.limits.compared.{place}", name)
    if not (sweep := _mapping(job.get("sweep"))):
        return
    metric, place = sweep.get("metric", RANKED["binary"]), f"{path}.sweep.metric"
    yield from _unknown(task, place, metric)
    if metric in ERRORS and sweep.get("goal") != "minimize":
        yield Problem(
            path=place,
            found=f"is {shown(metric)}",
            rule=Rule(
                must="must have goal: minimize beside it",
                because="it measures errors, and the run with the largest one would be registered",
                instead="add goal: minimize",
            ),
        )


def _unknown(task: Task, path: str, name: object) -> Iterator[Problem]:
    known: Sequence[str] = METRICS[task]
    if name in KNOWN and name not in known:
        yield Problem(
            path=path,
            found=f"is {shown(name)}",
            rule=Rule(
                must=f"must be {', '.join(known[:-1])} or {known[-1]}",
                because=f"the project's task is {task}, and its models have these metrics",
                instead="write one of them",
            ),
        )


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
