"""What makes a table unfit to learn from, in sentences that name the column, a value, and a row."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from training.data.columns import RULES, shown
from training.fit.metrics import Predictions, measure
from training.project import Column, Project, Target

# A feature that ranks the labels this well by itself is the answer in other words, or was written after it.
LEAK = 0.999
LEAST_ROWS_FOR_A_LEAK, ROWS_LOOKED_AT = 50, 50_000
ROWS_PER_WORD = 20


def problems(columns: Mapping[str, "pd.Series[Any]"], project: Project[Any]) -> Iterator[str]:
    """Yield all that is wrong with the columns that could be read, of a table that has rows."""
    found = [
        problem
        for column in project.columns
        if column.name in columns
        for problem in _column(columns[column.name], column)
    ]
    if project.target.name in columns:
        found += _label(columns[project.target.name], project.target)
    if (by := project.split.by) in columns:
        found += _there(by, columns[by], "for rows to be divided by it")
    yield from found
    if not found and set(project.features) | {project.target.name} <= columns.keys():
        yield from _leaks(columns, project)


def _column(values: "pd.Series[Any]", column: Column) -> Iterator[str]:
    missing = values.isna()
    share = float(missing.mean())
    if share == 1:
        yield f"the column {column.name} has no value in any row; fill it, or give another table"
    elif column.kind == "integer":
        yield from _first(missing, values, column.name, RULES["integer"])
    elif share > column.most_missing:
        yield (
            f"the column {column.name} is empty in {share:.0%} of the rows, and may be in {column.most_missing:.0%}; "
            "fill it, or raise most_missing in the project"
        )
    if column.kind == "category":
        yield from _words(values, column)
    else:
        yield from _numbers(values, column)


def _numbers(values: "pd.Series[Any]", column: Column) -> Iterator[str]:
    yield from _first(values.abs() == float("inf"), values, column.name, "where a finite number must stand")
    if column.at_least is not None:
        yield from _first(values < column.at_least, values, column.name, f"and must be at least {column.at_least:g}")
    if column.at_most is not None:
        yield from _first(values > column.at_most, values, column.name, f"and must be at most {column.at_most:g}")


def _words(values: "pd.Series[Any]", column: Column) -> Iterator[str]:
    if column.categories and (strange := sorted(set(_occurring(values)) - set(column.categories))):
        yield (
            f"the column {column.name} holds {', '.join(map(shown, strange[:5]))}, and may hold only "
            f"{', '.join(column.categories)}; correct the file, or add it to the project"
        )


def _label(labels: "pd.Series[Any]", target: Target) -> Iterator[str]:
    yield from _there(target.name, labels, "for a model to learn from the row")
    counts = labels.value_counts()
    if strange := [word for word in _occurring(labels) if word not in target.labels]:
        yield (
            f"the column {target.name} holds {', '.join(map(shown, strange[:5]))}, and may hold only "
            f"{' or '.join(target.labels)}; correct the file"
        )
        return
    rarer = min(target.labels, key=lambda label: int(counts.get(label, 0)))
    count = int(counts.get(rarer, 0))
    if not count:
        yield f"the column {target.name} never says {rarer}; give rows of both labels: there is nothing to tell apart"
    elif count < target.rarest * len(labels):
        yield (
            f"the column {target.name} says {rarer} in {count} of {len(labels)} rows, less than {target.rarest:.1%}; "
            "give more of them, or lower rarest in the project"
        )


def _there(name: str, values: "pd.Series[Any]", purpose: str) -> Iterator[str]:
    if absent := int(values.isna().sum()):
        row = int(values.isna().to_numpy().argmax()) + 1
        yield f"the column {name} holds nothing in {absent} rows, as in row {row}, and must {purpose}; fill it"


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
            words = values.cat.codes
            if words.nunique() * ROWS_PER_WORD > len(words):
                continue
            values = pd.Series(truth).groupby(words).transform("mean")
        else:
            values = values.fillna(values.min() - 1)  # that a value is missing may say it all
        ranked = Predictions(truth=truth, predicted=truth, probability=values.to_numpy())
        quality = measure(ranked)["roc_auc"]
        if max(quality, 1 - quality) >= LEAK:
            yield (
                f"the column {column.name} tells {project.target.name} all by itself (area under its curve "
                f"{max(quality, 1 - quality):.4f}), as what is written down after the fact does; leave it out of the "
                "project, or declare it decisive"
            )


def _occurring(values: "pd.Series[Any]") -> list[str]:
    return [str(word) for word in values.cat.categories]


def _first(wrong: "pd.Series[bool]", values: "pd.Series[Any]", name: str, rule: str) -> Iterator[str]:
    """A sentence about the first of the wrong values, if there is one."""
    rows = wrong.fillna(value=False).to_numpy(dtype=bool)
    if not rows.any():
        return
    row = int(rows.argmax())
    value = values.iloc[row]
    held = "nothing" if pd.isna(value) else f"'{shown(value)}'"
    more = f" ({int(rows.sum())} such rows)"
    yield f"the column {name} holds {held} {rule}, in row {row + 1} of {len(values)}{more}; correct the file"
