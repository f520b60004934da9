"""Check of the metrics that a training job names against those of its model project."""

from collections.abc import Iterator, Mapping
from typing import cast

from contract.parameter_schema import Schema
from contract.tasks import ERRORS, METRICS, RANKED, SHARES, Side
from contract.untyped import mapping
from infra.config.problems import Problem, shown
from infra.config.rules import Rule

KNOWN = {name for names in METRICS.values() for name in names}
"""Metrics of all tasks."""


def problems(schema: Schema | None, path: str, job: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each metric of the job's limits and sweep that models of the project do not have.

    Args:
        schema: entry of the project in schema/parameters.json; None if the project is not known, so that a run can have
            metrics of any name.
        path: path of the job in the stack file.
        job: job in the stack file.
    """
    sides = _sides(schema) if schema else None
    limits, place = mapping(mapping(job.get("validation")).get("limits")), f"{path}.validation.limits"
    for key in ("least", "most", "slice_least"):
        for name, value in mapping(limits.get(key)).items():
            yield from _unknown(sides, f"{place}.{key}.{name}", name)
            yield from _wrong_side(sides, key, f"{place}.{key}.{name}", name)
            yield from _out_of_range(f"{place}.{key}.{name}", name, value)
    compared = limits.get("compared")
    for index, name in enumerate(cast("list[object]", compared) if isinstance(compared, list) else ()):
        yield from _unknown(sides, f"{place}.compared.{index}", name)
    if (sweep := mapping(job.get("sweep"))) and sides is not None:
        yield from _sweep(sides, f"{path}.sweep.metric", sweep)


def _sides(schema: Schema) -> Mapping[str, Side]:
    """Return the metrics of the project's models, and the side on which each is better."""
    of_task: dict[str, Side] = {
        name: "smaller" if name in ERRORS else "larger" for name in METRICS[schema.get("task", "binary")]
    }
    return of_task | schema.get("metrics", {})


def _sweep(sides: Mapping[str, Side], path: str, sweep: Mapping[str, object]) -> Iterator[Problem]:
    metric = sweep.get("metric", RANKED["binary"])
    if metric in KNOWN:  # a run also has metrics such as cost_wall_seconds
        yield from _unknown(sides, path, metric)
    if sides.get(str(metric)) == "smaller" and sweep.get("goal") != "minimize":
        yield Problem(
            path=path,
            found=f"is {shown(metric)}",
            rule=Rule(
                must="must have goal: minimize beside it",
                because="it is better when smaller, and the run with the largest value would be registered",
                instead="add goal: minimize",
            ),
        )


def _unknown(sides: Mapping[str, Side] | None, path: str, name: object) -> Iterator[Problem]:
    if sides is not None and name not in sides:
        yield Problem(
            path=path,
            found=f"is {shown(name)}",
            rule=Rule(
                must=f"must be {' or '.join(filter(None, (', '.join([*sides][:-1]), [*sides][-1])))}",
                because="models of this project have these metrics",
                instead="write one of them, or add the metric to the project and run make schema",
            ),
        )


def _wrong_side(sides: Mapping[str, Side] | None, key: str, path: str, name: str) -> Iterator[Problem]:
    side = (sides or {}).get(name) or ("smaller" if name in ERRORS else "larger" if name in SHARES else None)
    if side and (side == "smaller") != (key == "most"):
        yield Problem(
            path=path,
            found=f"limits {name}",
            rule=Rule(
                must=f"must name metrics that are better when {'smaller' if key == 'most' else 'larger'}",
                because=f"{name} is better when {side}, so the limit would refuse the better versions",
                instead="write it under `most`" if side == "smaller" else "write it under `least`",
            ),
        )


def _out_of_range(path: str, name: str, value: object) -> Iterator[Problem]:
    most, must = (1, "a number from 0 to 1") if name in SHARES else (float("inf"), "a number of at least 0")
    if name in SHARES | ERRORS and isinstance(value, int | float) and not 0 <= value <= most:
        yield Problem(
            path=path,
            found=f"is {shown(value)}",
            rule=Rule(
                must=f"must be {must}",
                because=f"{name} has such values",
                instead="write it as in 0.7" if name in SHARES else "write it as in 250",
            ),
        )
