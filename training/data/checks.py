"""Checks that a table can be learned from. Each problem is a sentence that names the column, a value and a row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from training.data.columns import NUMBER, RULES, shown
from training.fit.predictions import BinaryPredictions
from training.project import Column, Project, Target

LEAK = 0.999
"""Quality of a prediction by one feature from which it counts as a leak: it was probably written after the target."""
LEAST_ROWS_FOR_A_LEAK, ROWS_LOOKED_AT = 50, 50_000
ROWS_PER_CATEGORY = 20
MANY_NUMBERS = 3
"""Number of unknown labels, all of them numbers, from which the target is taken for a quantity."""
EARLIEST, LATEST = pd.Timestamp(1678, 1, 1), pd.Timestamp(2261, 12, 31)
"""Times between which a time feature can have nanoseconds since 1970, as MLflow passes times to a model."""
FEW_LABELS = 20
"""Largest number of unknown labels that may be meant as further labels."""


class _Tree(Protocol):
    """Typed part of scikit-learn's tree."""

    def fit(self, table: NDArray[Any], labels: NDArray[Any]) -> Self: ...
    def score(self, table: NDArray[Any], labels: NDArray[Any]) -> float: ...


def problems(columns: Mapping[str, "pd.Series[Any]"], project: Project[Any]) -> Iterator[str]:
    """Yield the problems of the readable columns of a table that has rows."""
    found = [
        problem
        for column in (*project.columns, *project.further)
        if column.name in columns
        for problem in _column(columns[column.name], column)
    ]
    if project.target.name in columns:
        check = _label if project.target.labels else _amount
        found += check(columns[project.target.name], project.target)
    if project.weight in columns:
        found += _weight(project.weight, columns[project.weight])
    if (by := project.split.by) in columns:
        found += _complete(by, columns[by], "because rows are split by it")
    yield from found
    if not found and set(project.features) | {project.target.name} <= columns.keys():
        for name, said in leaks(columns, project):
            yield (
                f"the column {name} predicts {project.target.name} on its own ({said}), probably because it was "
                "written after the target was known; leave it out of the project, or declare it decisive"
            )


def _column(values: "pd.Series[Any]", column: Column) -> Iterator[str]:
    missing = values.isna()
    share = float(missing.mean())
    if share == 1:
        yield f"the column {column.name} is empty in all rows, so a model cannot use it; fill it, or give another table"
    elif column.kind == "time":
        instead = "correct the file, or give the time as numbers, which may be missing"
        yield from _first(missing, values, column.name, RULES["time"], instead)
        outside = (values < EARLIEST) | (values > LATEST)
        yield from _first(outside, values, column.name, "and must be from 1678 to 2261, to count in nanoseconds")
    elif column.kind == "integer":
        instead = "correct the file, or declare the column a number, which may be missing"
        yield from _first(missing, values, column.name, RULES["integer"], instead)
    elif share > column.most_missing:
        yield (
            f"the column {column.name} is empty in {share:.0%} of the rows, and at most {column.most_missing:.0%} may "
            "be empty; fill it, or raise most_missing in the project"
        )
    if column.kind == "category":
        yield from _categories(values, column)
    elif column.kind in ("integer", "number"):
        yield from _numbers(values, column)


def _numbers(values: "pd.Series[Any]", column: Column | Target) -> Iterator[str]:
    yield from _first(values.abs() == float("inf"), values, column.name, "and must be a finite number")
    if column.at_least is not None:
        yield from _first(values < column.at_least, values, column.name, f"and must be at least {column.at_least:g}")
    if column.at_most is not None:
        yield from _first(values > column.at_most, values, column.name, f"and must be at most {column.at_most:g}")


def _weight(name: str, values: "pd.Series[Any]") -> Iterator[str]:
    yield from _complete(name, values, "because it says how much each row counts")
    rule = "and must be a finite number from 0 up, because it says how much the row counts"
    yield from _first((values < 0) | (values == float("inf")), values, name, rule)
    if len(values) and (values == 0).all():
        yield f"the column {name} is 0 in all rows, so no row counts; give another table, or another weight"


def _categories(values: "pd.Series[Any]", column: Column) -> Iterator[str]:
    if column.categories and (unknown := sorted(set(_occurring(values)) - set(column.categories))):
        yield (
            f"the column {column.name} holds {', '.join(map(shown, unknown[:5]))}, and may hold only "
            f"{', '.join(column.categories)}; correct the file, or add the category to the project"
        )


def _label(labels: "pd.Series[Any]", target: Target) -> Iterator[str]:
    yield from _complete(target.name, labels, "because each row needs a label")
    counts = labels.value_counts()
    if unknown := [label for label in _occurring(labels) if label not in target.labels]:
        yield (
            f"the column {target.name} holds {', '.join(map(shown, unknown[:5]))}, and may hold only "
            f"{' or '.join(target.labels)}; {_instead(unknown, target)}"
        )
        return
    rarer = min(target.labels, key=lambda label: int(counts.get(label, 0)))
    count = int(counts.get(rarer, 0))
    if not count:
        yield f"the column {target.name} never holds {rarer}, so there is nothing to predict; give rows of every label"
    elif count < target.rarest * len(labels):
        yield (
            f"the column {target.name} holds {rarer} in {count} of {len(labels)} rows, less than {target.rarest:.1%}; "
            "give more such rows, or lower rarest in the project"
        )


def _instead(unknown: Sequence[str], target: Target) -> str:
    """Return what to do about unknown labels: another task, if they look like it."""
    if len(unknown) >= MANY_NUMBERS and all(NUMBER.fullmatch(label) for label in unknown):
        return "if it is a quantity, write task='regression' in the project, without labels; or correct the file"
    if len(target.labels) == 2 and len(unknown) <= FEW_LABELS:
        return "correct the file, or write task='multiclass' in the project with every label"
    return "correct the file, or add the label to the project" if len(target.labels) > 2 else "correct the file"


def _amount(values: "pd.Series[Any]", target: Target) -> Iterator[str]:
    yield from _complete(target.name, values, "because each row needs a value to learn from")
    yield from _numbers(values, target)
    if len(values) and not values.isna().any() and (values == values.iloc[0]).all():
        yield (
            f"the column {target.name} holds {shown(values.iloc[0])} in all {len(values)} rows, so there is nothing to "
            "predict; give another table"
        )


def _complete(name: str, values: "pd.Series[Any]", reason: str) -> Iterator[str]:
    if absent := int(values.isna().sum()):
        row = int(values.isna().to_numpy().argmax()) + 1
        yield f"the column {name} has no value in {absent} rows, first in row {row}, and needs one {reason}; fill it"


def leaks(columns: Mapping[str, "pd.Series[Any]"], project: Project[Any]) -> Iterator[tuple[str, str]]:
    """Yield each feature that predicts the target on its own, and how well. Texts are not examined."""
    target = columns[project.target.name]
    if len(target) < LEAST_ROWS_FOR_A_LEAK:
        return
    every = slice(None, None, -(-len(target) // ROWS_LOOKED_AT))
    truth = target.iloc[every].reset_index(drop=True)
    name, quality_of = _QUALITIES[_kind(project)]
    for column in project.columns:
        if column.decisive or column.kind == "text":
            continue
        values = columns[column.name].iloc[every].reset_index(drop=True)
        if column.kind == "category" and values.nunique() * ROWS_PER_CATEGORY > len(values):
            continue
        quality = quality_of(values, truth, project.target)
        if quality >= LEAK:
            yield column.name, f"{name} {quality:.4f}"


def _area(values: "pd.Series[Any]", truth: "pd.Series[Any]", target: Target) -> float:
    """Return the area under the ROC curve, in the better direction, when the feature alone ranks the rows."""
    positive = (truth == target.labels[-1]).to_numpy()
    ranked = BinaryPredictions(truth=positive, predicted=positive, probability=_scale(values, pd.Series(positive)))
    area = ranked.measure()["roc_auc"]
    return max(area, 1 - area)


def _accuracy(values: "pd.Series[Any]", truth: "pd.Series[Any]", target: Target) -> float:
    """Return the share of rows that a small tree of the feature alone predicts.

    The tree has two leaves for each label, so that it cannot learn the rows by heart.
    """
    codes = truth.cat.codes.to_numpy()
    known = values.cat.codes if isinstance(values.dtype, pd.CategoricalDtype) else values
    if known is not values:  # the share of each label by category, so that the tree need not split them one by one
        known = pd.Series(codes).groupby(known).transform(lambda label: label.mode().iloc[0])
    table = _filled(known).reshape(-1, 1)
    tree = cast("_Tree", DecisionTreeClassifier(max_leaf_nodes=2 * len(target.labels), random_state=0))
    return tree.fit(table, codes).score(table, codes)


def _correlation(values: "pd.Series[Any]", truth: "pd.Series[Any]", _target: Target) -> float:
    """Return the absolute rank correlation of the feature with a number; 0 for a constant feature."""
    ranks = pd.Series(_scale(values, truth)).rank()
    return 0.0 if ranks.nunique() < 2 else abs(float(np.corrcoef(ranks, truth.rank())[0, 1]))


def _kind(project: Project[Any]) -> str:
    """Return the task whose search for leaks fits the target."""
    if project.task != "custom":
        return project.task
    return {0: "regression", 2: "binary"}.get(len(project.target.labels), "multiclass")


_QUALITIES = {
    "binary": ("area under ROC curve", _area),
    "multiclass": ("accuracy", _accuracy),
    "regression": ("rank correlation", _correlation),
}


def _scale(values: "pd.Series[Any]", truth: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return the numbers of a feature; for a category, the mean of the truth in its rows."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return truth.groupby(values.cat.codes).transform("mean").to_numpy(dtype=float)
    return _filled(values)


def _filled(values: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return the numbers with a value of its own for a missing one, which may tell the target, too."""
    if pd.api.types.is_datetime64_dtype(values):
        values = values.astype("int64")
    return values.fillna(values.min() - 1).to_numpy(dtype=float)


def _occurring(values: "pd.Series[Any]") -> list[str]:
    return [str(word) for word in values.cat.categories]


def _first(
    wrong: "pd.Series[bool]", values: "pd.Series[Any]", name: str, rule: str, instead: str = "correct the file"
) -> Iterator[str]:
    """Yield one sentence that names the first wrong value, if there is one."""
    rows = wrong.fillna(value=False).to_numpy(dtype=bool)
    if not rows.any():
        return
    row = int(rows.argmax())
    value = values.iloc[row]
    held = "nothing" if pd.isna(value) else f"'{shown(value)}'"
    more = f" ({int(rows.sum())} such rows)"
    yield f"the column {name} holds {held} {rule}, in row {row + 1} of {len(values)}{more}; {instead}"
