"""Declaration of a model project: one file `training/projects/NAME.py` with a `PROJECT`.

A project declares the columns that it learns from, its target, how rows are held out, its parameters and its `fit`. The
platform does the rest. See docs/training.md.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from contract import tags
from contract.tasks import ERRORS, METRICS, RANKED, TASKS, Side, Task
from training import projects

RUN_PARAMETERS = {"dataset", "dataset_digest", "dataset_size", "seed"}
METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
TAKEN = {name for names in METRICS.values() for name in names} | {
    value for name, value in vars(tags).items() if name.isupper()
}
"""Names that a project's own metric cannot have, because a version has tags of these names."""


class ProjectError(Exception):
    """The project does not exist, its declaration is wrong, or its parameters are."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Declaration of a feature."""

    name: str
    """Name of the column in the table."""
    kind: Literal["integer", "number", "category", "text", "time"]
    """Kind of the column's values. An `integer` and a `time` must be present in every row, and a missing `text` is read
    as an empty one; the others may be missing."""
    at_least: float | None = None
    """Smallest value that a table may hold; None for no limit."""
    at_most: float | None = None
    """Largest value that a table may hold; None for no limit."""
    categories: Sequence[str] = ()
    """Categories that a table may hold; empty for any."""
    most_missing: float = 0.5
    """Largest share of rows without a value, 0 to 1; a table above it is refused."""
    decisive: bool = False
    """Whether the column may predict the label on its own. Otherwise a table in which it does is refused as a leak."""


def integers(*names: str, at_least: float | None = None, at_most: float | None = None) -> Sequence[Column]:
    """Return columns of whole numbers with the same range."""
    return [Column(name=name, kind="integer", at_least=at_least, at_most=at_most) for name in names]


def numbers(*names: str, at_least: float | None = None, at_most: float | None = None) -> Sequence[Column]:
    """Return columns of numbers with the same range."""
    return [Column(name=name, kind="number", at_least=at_least, at_most=at_most) for name in names]


def categories(*names: str, known: Sequence[str] = ()) -> Sequence[Column]:
    """Return columns with the same known categories; without known categories, any value is accepted."""
    return [Column(name=name, kind="category", categories=known) for name in names]


def texts(*names: str) -> Sequence[Column]:
    """Return columns of free texts."""
    return [Column(name=name, kind="text") for name in names]


def times(*names: str) -> Sequence[Column]:
    """Return columns of dates and times."""
    return [Column(name=name, kind="time") for name in names]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Declaration of the column to predict."""

    name: str
    """Name of the column in the table."""
    labels: tuple[str, ...] = ()
    """Labels of the column: two for `binary`, the label of interest last; three or more for `multiclass`; none for
    `regression`."""
    rarest: float = 0.01
    """Smallest share of the rarest label, 0 to 1; a table below it is refused."""
    at_least: float | None = None
    """Smallest value that a table for a regression may hold; None for no limit."""
    at_most: float | None = None
    """Largest value that a table for a regression may hold; None for no limit."""
    class_weights: Literal["balanced"] | Mapping[str, float] | None = None
    """Weight of the rows of each label in `fit`, as part of `Rows.weights`: a number above 0 for each label (1 if
    it is left out), or `balanced` to let all labels count as much together. Metrics do not use them."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rule that selects the rows that a model does not learn from. The same table always gives the same rows."""

    how: Literal["random", "time", "group", "row"] = "random"
    """`random` keeps the shares of the labels. `time` holds out the latest rows; rows with the same time stay together.
    `group` keeps all rows with the same value of `by` together, for example a household, even when the table grows.
    `row` decides for each row by its values: a row that was held out is held out again when the table grows or shrinks,
    so that no version has learned from the rows on which a later one is compared with it. This holds as long as the
    declared columns and their kinds stay the same, in any order."""
    by: str = ""
    """Column with the time or the group; empty for `random` and `row`. It need not be a feature."""
    test_share: float = 0.25
    """Share of the rows that are held out, 0 to 1."""
    seed: int = 7
    """Seed of the random generator."""


class Parameters(BaseModel):
    """Base class for the parameters of a project: fields with a type, a default and a range. Other names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Protocol):
    """Model that `fit` returns, such as a pipeline of scikit-learn."""

    def predict(self, table: pd.DataFrame, /) -> NDArray[Any]:
        """Return a label or, for a regression, a number for each row."""
        ...


class Classifier(Model, Protocol):
    """Model that `fit` returns for the tasks `binary` and `multiclass`."""

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels in the order of `predict_proba`'s columns."""
        ...

    def predict_proba(self, table: pd.DataFrame, /) -> NDArray[Any]:
        """Return a probability for each row and label."""
        ...


class Checkpoints(Protocol):
    """Place of a fit's state. Another process of the fit may use a copy."""

    def latest(self) -> bytes | None:
        """Return the state that was saved last for the same work; None if there is none."""
        ...

    def save(self, content: bytes) -> None:
        """Save the state in place of the earlier one."""
        ...


class NoCheckpoints:
    """Place that keeps nothing."""

    def latest(self) -> bytes | None:
        """Return None."""
        return None

    def save(self, content: bytes) -> None:
        """Keep nothing."""
        del content


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Rows with the truth and a model's predictions, for a metric of a project's own.

    For an interval, the rows are drawn with repetition. So a metric need not know about bootstrap samples.
    """

    table: pd.DataFrame
    """All declared columns of the rows: features, target, weight and `further`."""
    truth: NDArray[Any]
    """Target of each row. For `binary`, True for the label of interest; for `multiclass`, the place among the labels of
    the target, from 0; for `custom`, the value of the table."""
    predicted: NDArray[Any]
    """Prediction for each row, in the form of `truth`; for `custom`, what `predict` returned."""
    probabilities: NDArray[np.float64]
    """For `binary`, the probability of the label of interest; for `multiclass`, one column for each label; else empty.
    """
    weights: NDArray[np.float64]
    """Weight of each row, for `sample_weight` of scikit-learn's metrics; all 1 without a column of weights."""


@dataclass(frozen=True)
class Metric:
    """Metric of a project's own."""

    measure: Callable[[Predicted], float]
    """Function that measures the predictions for some rows."""
    better: Side
    """Side on which the metric is better: `larger` or `smaller`."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that `fit` learns from."""

    features: pd.DataFrame
    """Features in the order of the declared columns."""
    labels: "pd.Series[Any]"
    """Target of each row: a label or, for a regression, a number."""
    divide: Callable[[float], "tuple[Rows, Rows]"]
    """Function that splits these rows again by the project's rule, for early stopping; returns (rest, share)."""
    seed: int
    """Seed for random generators."""
    gpus: int = 0
    """Number of GPUs that the pod was given; 0 for none, and outside of a cluster."""
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    """Place that keeps the state of a long fit, so that a run that was interrupted continues."""
    weigh: Callable[[], "pd.Series[float]"]
    """Function that computes `weights`."""
    further: pd.DataFrame
    """Columns that the project declares as `further`."""
    facts: dict[str, str | float] = field(default_factory=dict[str, str | float])
    """Facts that `fit` adds and the run records as parameters, such as the number of trees."""
    used: set[str] = field(default_factory=set[str])
    """Names of the optional parts that `fit` has read, such as `weights`; divided rows share it."""

    @property
    def weights(self) -> "pd.Series[float]":
        """Weight of each row, for `sample_weight` of scikit-learn: the column of weights times the class weight.

        All 1 if the project declares neither.
        """
        self.used.add("weights")
        return self.weigh()


P = TypeVar("P", bound=Parameters)
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Project(Generic[P]):
    """Model project."""

    model: str
    """Name under which versions are registered, unless a run gives another one."""
    columns: Sequence[Column]
    """Features."""
    target: Target
    """Column to predict."""
    parameters: type[P]
    """Class of the parameters."""
    fit: Callable[[Rows, P], Model]
    """Function that fits a model to the rows; it returns a classifier for the tasks `binary` and `multiclass`."""
    task: Task = "binary"
    """Task of the model, which decides its metrics, plots, checks and limits."""
    metrics: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    """Further metrics by name; a task `custom` has only these, and its first one decides between two versions."""
    weight: str = ""
    """Column that says how much a row counts in `fit` and in each metric, from 0 up; empty if all count alike."""
    further: Sequence[Column] = ()
    """Columns of the table for `fit` and for own metrics that a request does not have, such as a group or an amount."""
    split: Split = field(default_factory=Split)
    """Rule that selects the rows held out."""
    slices: Sequence[str] = ()
    """Category features; the validation computes the metrics for each of their values."""
    trusted: Sequence[str] = ()
    """Types, besides those of scikit-learn and LightGBM, that loading the model may create."""
    packages: Sequence[str] = ()
    """Packages, besides scikit-learn, that loading the model needs; model_server/requirements.in must list them."""

    def __post_init__(self) -> None:
        faults = (_target_fault(self.task, self.target), _weights_fault(self.target), *_metric_faults(self))
        if fault := next(filter(None, faults), ""):
            raise ProjectError(fault)
        names = [*self.features, self.target.name, *(column.name for column in self.further)]
        names += [self.weight] if self.weight and self.weight not in names[len(self.columns) + 1 :] else []
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ProjectError(f"the columns {', '.join(doubled)} are declared twice; name each once")
        if (self.split.how in {"random", "row"}) != (not self.split.by):
            raise ProjectError(f"{self.split} is wrong; give `by` for time and group, and omit it for random and row")
        if taken := sorted(RUN_PARAMETERS & set(self.parameters.model_fields)):
            raise ProjectError(f"the parameters {', '.join(taken)} are recorded by every run already; rename them")
        folded = [name.casefold() for name in self.parameters.model_fields]
        if alike := sorted(name for name in self.parameters.model_fields if folded.count(name.casefold()) > 1):
            raise ProjectError(
                f"the parameters {', '.join(alike)} differ only in case, and variables have no case; rename them"
            )
        if unknown := sorted(set(self.slices) - {c.name for c in self.columns if c.kind == "category"}):
            raise ProjectError(f"the slices {', '.join(unknown)} are not category columns; name category columns")

    @property
    def features(self) -> list[str]:
        """Names of the features, in order."""
        return [column.name for column in self.columns]

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of all metrics: those of the task, and the project's own."""
        return (*METRICS[self.task], *self.metrics)

    @property
    def smaller(self) -> frozenset[str]:
        """Names of the metrics that are better when smaller."""
        return ERRORS | {name for name, metric in self.metrics.items() if metric.better == "smaller"}

    @property
    def ranked(self) -> str:
        """Metric that measures how much a feature matters."""
        return RANKED.get(self.task) or next(iter(self.metrics))


def _target_fault(task: Task, target: Target) -> str:
    """Return why the target does not fit the task; empty if it does."""
    labels, fault = target.labels, ""
    if task not in TASKS:
        return f"the task {task!r} is not known; write one of {', '.join(TASKS)}"
    if task == "regression":
        fault = "labels, but a regression predicts numbers; leave `labels` out" if labels else ""
    elif task == "custom" and not labels:
        fault = ""
    elif target.at_least is not None or target.at_most is not None:
        fault = "a range of numbers, but labels have none; leave out at_least and at_most"
    elif len(set(labels)) < len(labels):
        fault = f"a label twice: {', '.join(labels)}; name each once"
    elif task == "binary" and len(labels) != 2:
        instead = "write task='multiclass'" if len(labels) > 2 else "name both, the one of interest last"
        fault = f"{len(labels)} labels, but it needs two; {instead}"
    elif task == "multiclass" and len(labels) < 3:
        fault = f"{len(labels)} labels, but it needs three or more; name all, or leave `task` out for two"
    return fault and f"the task is {task}, and the target {target.name} declares {fault}"


def _weights_fault(target: Target) -> str:
    """Return why the class weights do not fit the labels; empty if they do."""
    given = target.class_weights
    if given is None or (given == "balanced" and target.labels):
        return ""
    what, why = f"the target {target.name} declares class_weights={given!r}", ""
    if not target.labels:
        why = "but no labels; use a column of weights, with weight='NAME' in the project"
    elif isinstance(given, str):
        why = "which is no known rule; write 'balanced', or a number above 0 for each label"
    elif unknown := sorted(set(given) - set(target.labels)):
        why = f"but {', '.join(unknown)} is none of its labels {', '.join(target.labels)}"
    elif wrong := [label for label, weight in given.items() if not 0 < weight < float("inf")]:
        why = f"but the weight of {', '.join(wrong)} must be a finite number above 0"
    return why and f"{what}, {why}"


def _metric_faults(project: "Project[Any]") -> Iterator[str]:
    """Yield what is wrong with the project's own metrics."""
    if project.task == "custom" and not project.metrics:
        yield "the task is custom, and no metric measures its models; give `metrics` with one or more"
    for name, metric in project.metrics.items():
        instead = "write up to 50 lower-case letters, digits and '_', a letter first, without _low or _high at the end"
        if not METRIC_NAME.fullmatch(name) or name.endswith(("_low", "_high")) or name.startswith("cost_"):
            yield f"the metric {name!r} cannot be recorded under this name; {instead}, and not cost_ at the beginning"
        elif name in TAKEN | RUN_PARAMETERS:
            yield f"the metric {name} has a name that each version uses already; rename it"
        elif metric.better not in ("larger", "smaller"):
            yield f"the metric {name} is better when {metric.better!r}, which is unknown; write larger or smaller"


def named(project: Project[Any], values: Mapping[str, V]) -> dict[str, V]:
    """Return the values with each name spelled as the project declares it, because environment variables have no case.

    Raises:
        ProjectError: two names stand for the same parameter.
    """
    spelled = {name.casefold(): name for name in project.parameters.model_fields}
    found: dict[str, V] = {}
    for name, value in values.items():
        own = name if name in project.parameters.model_fields else spelled.get(name.casefold(), name)
        if own in found:
            raise ProjectError(f"the parameter {own} is given twice; give it once")
        found[own] = value
    return found


def read_parameters(project: Project[P], values: Mapping[str, object], hidden: Mapping[str, object] | None = None) -> P:
    """Check the values and return the parameters. No message shows a hidden value.

    Raises:
        ProjectError: a name is unknown, or a value is wrong; the message lists all problems.
    """
    hidden = named(project, hidden or {})
    try:
        return project.parameters.model_validate({**named(project, values), **hidden})
    except ValidationError as error:
        # The cause would show every value
        raise ProjectError("; ".join(_parameter_messages(project.parameters, error, hidden))) from None


def _parameter_messages(
    parameters: type[Parameters], error: ValidationError, hidden: Mapping[str, object]
) -> Iterator[str]:
    fields = parameters.model_fields
    known = ", ".join(fields) or "none"
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        what = f"; it is the {fields[name].description}" if name in fields and fields[name].description else ""
        if problem["type"] == "extra_forbidden":
            near = get_close_matches(name, fields, 1)
            hint = f"is {near[0]} meant?" if near else "leave it out, or add it to the project"
            yield f"the parameter {name} is not known; the project has {known}; {hint}"
        elif problem["type"] == "missing":
            yield f"the parameter {name} is not set{what}; give it a value"
        else:
            value = "" if name in hidden else f"={problem['input']!r}"
            yield f"the parameter {name}{value} is wrong ({problem['msg'][:1].lower()}{problem['msg'][1:]}){what}"


def names() -> list[str]:
    """Return the names of all projects."""
    return sorted(module.name for module in pkgutil.iter_modules(projects.__path__))


def load(name: str) -> Project[Any]:
    """Return the project of that name; `churn-boosted` is the same as `churn_boosted`.

    Raises:
        ProjectError: no such project exists, or its file does not declare one.
    """
    module = name.replace("-", "_")
    if module not in names():
        near = get_close_matches(module, names(), 1)
        hint = f"is {near[0]} meant?" if near else "add training/projects/NAME.py"
        raise ProjectError(f"there is no project {name}; projects that exist: {', '.join(names())}; {hint}")
    declared = vars(importlib.import_module(f"training.projects.{module}")).get("PROJECT")
    if not isinstance(declared, Project):
        raise ProjectError(f"training/projects/{module}.py declares no PROJECT; write PROJECT = Project(...)")
    return cast("Project[Any]", declared)
