"""Settings of a training job: schedule, parameters, sweep."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Annotated, Any, cast

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict

from infra.config import cron, rules, training_rules
from infra.config.rules import Rule
from infra.config.section import Model


class SecretParameter(Model):
    """Parameter whose value is in a Secret of the namespace ml-training; you create the Secret."""

    secret: training_rules.ObjectName
    """Name of the Secret. Example: geocoder"""
    key: training_rules.SecretKey
    """Key of the Secret whose value is the parameter. Example: token"""


ParameterValue = Annotated[
    training_rules.Plain | SecretParameter,
    Rule(
        must="must be a text, a number, a truth value or {secret: NAME, key: KEY}",
        because="the model's code gets this value, or the value in the Secret of ml-training",
        instead="write it as in max_depth: 10, or as in api_key: {secret: geocoder, key: token}",
    ),
]


class Schedule(Model):
    """Schedule of a training job; a text instead of a mapping is the value of `cron`."""

    cron: training_rules.Cron
    """Start times as five cron fields: minute, hour, day of the month, month, day of the week.
    Example: "0 3 * * 0"
    """
    time_zone: training_rules.TimeZone = "Etc/UTC"
    """Time zone of `cron`, by its IANA name. Example: Europe/Berlin"""
    suspend: rules.Truth = False
    """Whether the schedule is paused. Example: true"""
    keep_succeeded: training_rules.Kept = 10
    """Number of succeeded Jobs that are kept, with their logs. Example: 10"""
    keep_failed: training_rules.Kept = 10
    """Number of failed Jobs that are kept, with their logs. Example: 10"""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"cron": value} if isinstance(value, str) else value

    @field_validator("cron")
    @classmethod
    def _valid_schedule(cls, text: str) -> str:
        return valid_schedule(text)


def valid_schedule(schedule: str) -> str:
    """Return the schedule; raise the rule's error if it is invalid or names a time that never comes."""
    try:
        cron.check(schedule)
    except ValueError as fault:
        raise training_rules.invalid_schedule(str(fault)) from None
    return schedule


def or_text(schema: JsonDict) -> None:
    """Add to the schema of an optional section that it may also be a text."""
    schema["anyOf"] = [{"type": "string"}, *cast("list[JsonValue]", schema["anyOf"])]


Values = Annotated[list[training_rules.Scalar], Field(min_length=1), training_rules.SOME_VALUES]
Grid = Annotated[dict[training_rules.ParameterName, Values], Field(min_length=1), training_rules.SOME_PARAMETERS]
Point = Annotated[
    dict[training_rules.ParameterName, training_rules.Scalar], Field(min_length=1), training_rules.SOME_POINTS
]


class Sweep(Model):
    """One run for every combination of a grid's values, or for every point; the best of them is registered."""

    grid: Grid | None = None
    """Values to try, by parameter: every combination is one run. Give `grid` or `points`.
    Example: {max_depth: [5, 10], n_estimators: [100, 200]}
    """
    points: Annotated[list[Point], Field(min_length=1), training_rules.SOME_POINTS] | None = None
    """Sets of parameter values to try: each is one run. Example: [{max_depth: 5}, {max_depth: 10}]"""
    max_parallel: training_rules.MaxParallel
    """Largest number of pods that run at the same time. Example: 2"""
    metric: training_rules.Metric = "roc_auc"
    """Metric that decides which run is the best. Example: roc_auc"""
    goal: training_rules.Goal = "maximize"
    """Whether the best metric is the highest (`maximize`) or the lowest (`minimize`). Example: minimize"""

    @field_validator("grid")
    @classmethod
    def _few_combinations(cls, grid: dict[str, list[Any]] | None) -> dict[str, list[Any]] | None:
        if grid and (points := prod(map(len, grid.values()))) > training_rules.MOST_POINTS:
            raise training_rules.too_many_points(points)
        return grid

    @field_validator("points")
    @classmethod
    def _instead_of_a_grid(cls, points: list[Any] | None, info: ValidationInfo) -> list[Any] | None:
        if points and len(points) > training_rules.MOST_POINTS:
            raise training_rules.too_many_points(len(points))
        if "grid" in info.data and (points is None) == (info.data["grid"] is None):
            raise training_rules.grid_or_points()
        return points

    @property
    def all_points(self) -> Sequence[dict[str, training_rules.Plain]]:
        """Parameters of each run that differ from the job's."""
        if self.points is not None:
            return self.points
        grid = self.grid or {}
        return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]

    @property
    def most_at_once(self) -> int:
        """Largest number of pods at the same time."""
        return min(self.max_parallel, len(self.all_points))

    @property
    def swept(self) -> set[str]:
        """Names of the parameters that differ between points."""
        return {name for point in self.all_points for name in point}
