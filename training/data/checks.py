"""Checks that a table can be learned from. Each problem is a sentence that names the column, a value and a row."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from training.data.columns import RULES, shown
from training.fit.metrics import Predictions, measure
from training.project import Column, Project, Target

LEAK = 0.999
"""Area under the ROC curve of one feature from which it counts as a leak: it was probably written after the label."""
LEAST_ROWS_FOR_A_LEAK, ROWS_LOOKED_AT = 50, 50_000
ROWS_PER_CATEGORY = 20


def problems(columns: Mapping[str, "pd.Series[Any]"], project: Project[Any]) -> Iterator[str]:
    """Yield the problems of the readable columns of a table that has rows."""
    found = [
        problem
        for column in project.columns
        if column.name in columns
        for problem in _column(columns[column.name], column)
    ]
    if project.target.name in columns:
        found += _label(columns[project.target.name], project.target)
    if (by := project.split.by) in columns:
        found += _complete(by, columns[by], "because rows are split by it")
    yield from found
    if not found and set(project.features) | {project.target.name} <= columns.keys():
        yield from _leaks(columns, project)


def _column(values: "pd.Series[Any]", column: Column) -> Iterator[str]:
    missing = values.isna()
    share = float(missing.mean())
    if share == 1:
        yield f"the column {column.name} is empty in all rows, so a model cannot use it; fill it, or give another table"
    elif column.kind == "integer":
        yield from _first(missing, values, column.name, RULES["integer"])
    elif share > column.most_missing:
        yield (
            f"the column {column.name} is empty in {share:.0%} of the rows, and at most {column.most_missing:.0%} may "
            "be empty; fill it, or raise most_missing in the project"
        )
    if column.kind == "category":
        yield from _categories(values, column)
    else:
        yield from _numbers(values, column)


def _numbers(values: "pd.Series[Any]", column: Column) -> Iterator[str]:
    yield from _first(values.abs() == float("inf"), values, column.name, "and must be a finite number")
    if column.at_least is not None:
        yield from _first(values < column.at_least, values, column.name, f"and must be at least {column.at_least:g}")
    if column.at_most is not None:
        yield from _first(values > column.at_most, values, column.name, f"and must be at most {column.at_most:g}")


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
            f"{' or '.join(target.labels)}; correct the file"
        )
        return
    rarer = min(target.labels, key=lambda label: int(counts.get(label, 0)))
    count = int(counts.get(rarer, 0))
    if not count:
        yield f"the column {target.name} never holds {rarer}, so there is nothing to predict; give rows of both labels"
    elif count < target.rarest * len(labels):
        yield (
            f"the column {target.name} holds {rarer} in {count} of {len(labels)} rows, less than {target.rarest:.1%}; "
            "give more such rows, or lower rarest in the project"
        )


def _complete(name: str, values: "pd.Series[Any]", reason: str) -> Iterator[str]:
    if absent := int(values.isna().sum()):
        row = int(values.isna().to_numpy().argmax()) + 1
        yield f"the column {name} has no value in {absent} rows, first in row {row}, and needs one {reason}; fill it"


def _leaks(columns: Mapping[str, "pd.Series[Any]"], project: Project[Any]) -> Iterator[str]:
    rows = len(columns[project.target.name])
    if rows < LEAST_ROWS_FOR_A_LEAK:
        return
    every = slice(None, None, -(-rows // ROWS_LOOKED_AT))
    truth = (columns[project.target.name].iloc[every] == project.target.labels[-1]).to_numpy()
    for column in project.columns:
        if column.decisive:
            continue
        values = columns[column.name].iloc[every].reset_index(drop=True)
        if column.kind == "category":
            codes = values.cat.codes
            if codes.nunique() * ROWS_PER_CATEGORY > len(codes):
                continue
            values = pd.Series(truth).groupby(codes).transform("mean")
        else:
            values = values.fillna(values.min() - 1)  # a missing value may tell the label, too
        ranked = Predictions(truth=truth, predicted=truth, probability=values.to_numpy())
        quality = measure(ranked)["roc_auc"]
        if max(quality, 1 - quality) >= LEAK:
            yield (
                f"the column {column.name} predicts {project.target.name} on its own (area under ROC curve "
                f"{max(quality, 1 - quality):.4f}), probably because it was written after the label was known; leave "
                "it out of the project, or declare it decisive"
            )


def _occurring(values: "pd.Series[Any]") -> list[str]:
    return [str(word) for word in values.cat.categories]


def _first(wrong: "pd.Series[bool]", values: "pd.Series[Any]", name: str, rule: str) -> Iterator[str]:
    """Yield one sentence that names the first wrong value, if there is one."""
    rows = wrong.fillna(value=False).to_numpy(dtype=bool)
    if not rows.any():
        return
    row = int(rows.argmax())
    value = values.iloc[row]
    held = "nothing" if pd.isna(value) else f"'{shown(value)}'"
    more = f" ({int(rows.sum())} such rows)"
    yield f"the column {name} holds {held} {rule}, in row {row + 1} of {len(values)}{more}; correct the file"
