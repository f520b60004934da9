"""How a model project is declared: one file `training/projects/NAME.py` with a `PROJECT`; everything around it is ours.

A project says which columns it learns from, what it predicts, how rows are held out, which parameters it takes, and how
it fits. See docs/training.md.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from training import projects

RUN_PARAMETERS = {"dataset", "dataset_digest", "dataset_size", "seed"}


class ProjectError(Exception):
    """There is no such project, or its declaration contradicts itself."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A feature. An `integer` is there in every row; a `number` or a `category` may be missing.

    What lies outside `at_least`, `at_most` or `categories` is refused, where they are given.
    """

    name: str
    kind: Literal["integer", "number", "category"]
    at_least: float | None = None
    at_most: float | None = None
    categories: Sequence[str] = ()
    most_missing: float = 0.5
    """Share of rows without a value above which the table is refused."""
    decisive: bool = False
    """It may tell the label all by itself; otherwise a table in which it does is refused as leaking the answer."""


def integers(*names: str, at_least: float | None = None, at_most: float | None = None) -> Sequence[Column]:
    """Columns of whole numbers with the same range."""
    return [Column(name=name, kind="integer", at_least=at_least, at_most=at_most) for name in names]


def numbers(*names: str, at_least: float | None = None, at_most: float | None = None) -> Sequence[Column]:
    """Columns of numbers with the same range."""
    return [Column(name=name, kind="number", at_least=at_least, at_most=at_most) for name in names]


def categories(*names: str, known: Sequence[str] = ()) -> Sequence[Column]:
    """Columns of words with the same categories; any word is taken when none is named."""
    return [Column(name=name, kind="category", categories=known) for name in names]


@dataclass(frozen=True, kw_only=True)
class Target:
    """The column to predict and the two labels it holds, the one of interest last."""

    name: str
    labels: tuple[str, str]
    rarest: float = 0.01
    """Share of the rarer label below which the table is refused."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which rows a model does not learn from, `test_share` of them: the same for the same table, always.

    `random` keeps the balance of labels. `time` holds out the latest rows by the column `by`; rows of one moment stay
    together. `group` keeps all rows with one value of `by` together (a household, a device), and a group on the same
    side when the table grows. `by` need not be a feature.
    """

    how: Literal["random", "time", "group"] = "random"
    by: str = ""
    test_share: float = 0.25
    seed: int = 7


class Parameters(BaseModel):
    """What a project takes, each with a type, a default and a range. A name it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Classifier(Protocol):
    """What `fit` returns, and what scikit-learn's pipelines are."""

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, in the order of `predict_proba`'s columns."""
        ...

    def predict(self, table: pd.DataFrame, /) -> NDArray[Any]:
        """A label for each row."""
        ...

    def predict_proba(self, table: pd.DataFrame, /) -> NDArray[Any]:
        """A probability for each row and label."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What `fit` learns from: `features` in the order of the declared columns, and a label for each row."""

    features: pd.DataFrame
    labels: "pd.Series[str]"
    divide: Callable[[float], "tuple[Rows, Rows]"]
    """Splits them once more, as the project declares, for early stopping: (rest, share)."""
    seed: int
    facts: dict[str, str | float] = field(default_factory=dict[str, str | float])
    """What `fit` finds out and the run shall show, such as where it stopped."""


P = TypeVar("P", bound=Parameters)
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Project(Generic[P]):
    """A model project; `model` is the name its versions are registered under, unless a run says another."""

    model: str
    columns: Sequence[Column]
    target: Target
    parameters: type[P]
    fit: Callable[[Rows, P], Classifier]
    split: Split = field(default_factory=Split)
    slices: Sequence[str] = ()
    """Category features by whose values `validate` looks at a model's metrics."""
    trusted: Sequence[str] = ()
    """Types, beyond those of scikit-learn and LightGBM, that loading the model may build."""
    packages: Sequence[str] = ()
    """Packages, beyond scikit-learn, that loading the model needs; model_server/requirements.in must have them."""

    def __post_init__(self) -> None:
        names = [*self.features, self.target.name]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ProjectError(f"the columns {', '.join(doubled)} are declared twice; name each once")
        if (self.split.how == "random") != (not self.split.by):
            raise ProjectError(f"{self.split}: give `by` for time and group, and not for random")
        if taken := sorted(RUN_PARAMETERS & set(self.parameters.model_fields)):
            raise ProjectError(f"the parameters {', '.join(taken)} are what every run records; rename them")
        folded = [name.casefold() for name in self.parameters.model_fields]
        if alike := sorted(name for name in self.parameters.model_fields if folded.count(name.casefold()) > 1):
            raise ProjectError(f"the parameters {', '.join(alike)} differ in case alone; rename them")
        if strange := sorted(set(self.slices) - {c.name for c in self.columns if c.kind == "category"}):
            raise ProjectError(f"slices {', '.join(strange)} are no declared categories; name some of the columns")

    @property
    def features(self) -> list[str]:
        """Names of the columns that the model takes, in order."""
        return [column.name for column in self.columns]


def named(project: Project[Any], values: Mapping[str, V]) -> dict[str, V]:
    """Return the values by the project's own spelling of each name: a variable of the environment has no case.

    Raises:
        ProjectError: two names are one parameter.
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
    """The parameters, checked; no message shows a hidden one's value.

    Raises:
        ProjectError: a name is unknown, or a value is not what it must be; all in one line.
    """
    hidden = named(project, hidden or {})
    try:
        return project.parameters.model_validate({**named(project, values), **hidden})
    except ValidationError as error:
        # Without the cause, which shows every value
        raise ProjectError("; ".join(_parameter_sentences(project.parameters, error, hidden))) from None


def _parameter_sentences(
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
            yield f"the parameter {name} is not known; there are {known}; {hint}"
        elif problem["type"] == "missing":
            yield f"the parameter {name} is not set{what}; give it"
        else:
            value = "" if name in hidden else f"={problem['input']!r}"
            yield f"the parameter {name}{value} is wrong ({problem['msg'][:1].lower()}{problem['msg'][1:]}){what}"


def names() -> list[str]:
    """The projects that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(projects.__path__))


def load(name: str) -> Project[Any]:
    """The project of that name; `churn-boosted` is the same as `churn_boosted`.

    Raises:
        ProjectError: there is none, or its file declares none.
    """
    module = name.replace("-", "_")
    if module not in names():
        near = get_close_matches(module, names(), 1)
        hint = f"is {near[0]} meant?" if near else "add training/projects/NAME.py"
        raise ProjectError(f"there is no project {name}; there are {', '.join(names())}; {hint}")
    declared = vars(importlib.import_module(f"training.projects.{module}")).get("PROJECT")
    if not isinstance(declared, Project):
        raise ProjectError(f"training/projects/{module}.py declares no PROJECT; write PROJECT = Project(...)")
    return cast("Project[Any]", declared)
