"""Writes a model project for a table: finds the kinds of the columns, the task, the split, and leaks.

Everything that the table shows is decided without a question, and each decision is a sentence of the draft.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from contract.tasks import Task
from training.data import checks, reading, split
from training.data.columns import ColumnReader, Kind
from training.data.reading import DataError
from training.project import Column, Model, Parameters, Project, ProjectError, Rows, Split, Target

TARGETS = ("target", "label", "class", "y", "outcome", "response")
"""Names of columns that are taken for the target."""
POSITIVE = ("1", "1.0", "t", "true", "y", "yes", "positive")
"""Labels of interest in lower case; of two labels, it is the last one."""
IDENTIFIER = re.compile(r"(^|[_ .-])(id|key|uuid)$|^(row|rownames?|index|unnamed: 0)$", re.IGNORECASE)
CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
MOST_LABELS, MOST_NUMERIC_LABELS = 50, 10
"""Largest number of labels of texts, and of whole numbers; more whole numbers are a quantity."""
WORDS, DISTINCT = 2.5, 100
"""Mean number of words, and number of distinct values, above which a column holds free texts."""
MOST_MISSING = 0.5
FEWEST_GROUPS = 20
KINDS: Sequence[Kind] = ("integer", "number", "time", "category")
WIDTH = 120


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Decisions that the user has made; an empty one is left to the table."""

    target: str = ""
    task: Task | None = None
    time: str = ""
    """Column by whose time the rows are split."""
    group: str = ""
    """Column whose groups stay together."""
    leave_out: Sequence[str] = ()


@dataclass(kw_only=True)
class Draft:
    """Project that was found for a table."""

    name: str
    """Name of the project, and of its file without `.py`."""
    uri: str
    rows: int
    project: Project[Any]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    """Reason for each column that is no feature."""

    @property
    def of_kind(self) -> Mapping[Kind, list[str]]:
        """Names of the features by kind."""
        kinds: Sequence[Kind] = ("integer", "number", "category", "text", "time")
        found = {kind: [one.name for one in self.project.columns if one.kind == kind] for kind in kinds}
        return {kind: found[kind] for kind in kinds if found[kind]}

    @property
    def decisions(self) -> Iterator[str]:
        """Sentences about everything that was decided."""
        project, target = self.project, self.project.target
        what = f"labels {', '.join(target.labels)}" if target.labels else "a number"
        yield f"target: {target.name}, {what}; task {project.task}"
        yield "features: " + ", ".join(f"{len(names)} {kind}" for kind, names in self.of_kind.items())
        for name, why in self.left_out.items():
            yield f"left out: {name}, because it {why}"
        yield (
            "held out: "
            + {
                "random": "a random quarter of the rows",
                "time": f"the latest quarter of the rows, by {project.split.by}",
                "group": f"a quarter of the groups, by {project.split.by}",
            }[project.split.how]
        )


def draft(uri: str, name: str, choices: Choices) -> Draft:
    """Return the project for the table at the URI.

    Raises:
        DataError: the table cannot be read or learned from, or does not show what to predict.
        ProjectError: a choice does not fit the table.
        StoreError: S3 did not respond.
    """
    present = reading.names(uri)
    _check(uri, choices, present)
    by_kind: dict[str, dict[Kind, ColumnReader]] = {
        column: {kind: ColumnReader(column, kind, ("False", "True")) for kind in KINDS} for column in present
    }
    reading.read(uri, [reader for readers in by_kind.values() for reader in readers.values()])
    found, left_out = dict[str, tuple[Kind, "pd.Series[Any]"]](), dict[str, str]()
    texts = dict[str, "pd.Series[Any]"]()
    for column, readers in by_kind.items():
        kind, values, texts[column] = _kind(readers)
        found[column] = kind, values
    rows = len(next(iter(texts.values())))
    if not rows:
        raise DataError(f"{uri} has a header but no rows; give a table with rows")
    target = choices.target or _target(uri, texts)
    task, declared = _task(target, found[target][0], texts[target], choices.task)
    others = [column for column in found if column != target]
    groups = [one for one in others if _is_identifier(one) and FEWEST_GROUPS <= texts[one].nunique() <= rows / 2]
    divided = _split(choices, [one for one in others if found[one][0] == "time"], groups)
    left_out |= dict.fromkeys(groups, "names groups of rows")
    left_out |= {divided.by: "names groups of rows"} if divided.how == "group" else {}
    left_out |= {column: why for column in others if (why := _useless(column, *found[column], texts[column]))}
    left_out |= dict.fromkeys(choices.leave_out, "was named with --leave-out")
    columns = [Column(name=column, kind=found[column][0]) for column in others if column not in left_out]
    project = _project(name, columns, declared, task, divided)
    table = {column: values for column, (_, values) in found.items()}
    table[target] = texts[target] if declared.labels else table[target].astype("float64")
    for column, quality in list(checks.leaks(table, project)):
        left_out[column] = f"predicts {target} on its own ({quality}), so it was probably written later"
    project = _project(name, [one for one in columns if one.name not in left_out], declared, task, divided)
    split.held_out(project, reading.load(uri, project).table)  # what a training would refuse is refused now
    return Draft(name=name, uri=uri, rows=rows, project=project, left_out=left_out)


def _check(uri: str, choices: Choices, present: Sequence[str]) -> None:
    """Raise ProjectError if a choice names a column that the table does not have."""
    given = {"--target": [choices.target], "--time": [choices.time], "--group": [choices.group]}
    for option, names in (given | {"--leave-out": [*choices.leave_out]}).items():
        if unknown := sorted({*names} - {*present, ""}):
            raise ProjectError(f"{uri} has no column {unknown[0]} for {option}; it has {', '.join(present)}")


def _kind(readers: Mapping[Kind, ColumnReader]) -> tuple[Kind, "pd.Series[Any]", "pd.Series[Any]"]:
    """Return the first kind that fits the column, its values, and the column as texts."""
    texts = readers["category"].series()
    for kind in ("integer", "number", "time"):
        if list(readers[kind].problems()) or (kind == "integer" and texts.isna().any()):
            continue
        return kind, readers[kind].series(), texts
    words = [len(str(value).split()) for value in texts.cat.categories]
    is_text = len(words) > DISTINCT and sum(words) / len(words) > WORDS
    return "text" if is_text else "category", texts, texts


def _target(uri: str, texts: Mapping[str, "pd.Series[Any]"]) -> str:
    named = [column for column in texts if column.lower() in TARGETS]
    if len(named) == 1:
        return named[0]
    two = [column for column, values in texts.items() if values.nunique() == 2]
    likely = list(dict.fromkeys([*named, [*texts][-1], *two]))
    raise DataError(
        f"{uri} does not show which column to predict; give --target with one of its columns, probably "
        f"{', '.join(likely[:8])}"
    )


def _task(target: str, kind: Kind, texts: "pd.Series[Any]", wanted: Task | None) -> tuple[Task, Target]:
    """Return the task and the target; raise DataError if the column is neither labels nor a quantity."""
    distinct = texts.nunique()
    is_number = kind in ("integer", "number")
    if absent := int(texts.isna().sum()):
        raise DataError(f"the column {target} has no value in {absent} rows, and each row needs one; remove these rows")
    if distinct < 2:
        raise DataError(f"the column {target} has the same value in all rows, so there is nothing to predict")
    most = MOST_NUMERIC_LABELS if is_number else MOST_LABELS
    task = wanted or ("binary" if distinct == 2 else "multiclass" if distinct <= most else "regression")
    if task == "regression" and not is_number:
        raise DataError(
            f"the column {target} has {distinct} different values that are no numbers, too many for labels; give "
            "another --target, or put the values into groups"
        )
    if task in ("regression", "custom"):
        return task, Target(name=target)
    counts = {str(label): int(count) for label, count in texts.value_counts().items()}
    labels = sorted(counts, key=lambda label: (label.lower() in POSITIVE, -counts[label], label))
    share = min(counts.values()) / len(texts)
    return task, Target(name=target, labels=tuple(labels), rarest=0.01 if share >= 0.01 else float(f"{share / 2:.0e}"))


def _split(choices: Choices, times: Sequence[str], groups: Sequence[str]) -> Split:
    if choices.time and choices.group:
        raise ProjectError("--time and --group are given, and rows are split in one way; give one of them")
    if choices.group or (len(groups) == 1 and not choices.time):
        return Split(how="group", by=choices.group or groups[0])
    if choices.time or len(times) == 1:
        return Split(how="time", by=choices.time or times[0])
    return Split()


def _useless(name: str, kind: Kind, values: "pd.Series[Any]", texts: "pd.Series[Any]") -> str:
    """Return why the column is no feature; empty if it is one."""
    distinct, missing = texts.nunique(), float(texts.isna().mean())
    if distinct < 2:
        return "has one value" if distinct else "is empty"
    if missing > MOST_MISSING:
        return f"is empty in {missing:.0%} of the rows"
    is_unique = distinct == len(texts)
    if is_unique and (_is_identifier(name) or (kind == "integer" and values.is_monotonic_increasing)):
        return "names each row"
    if kind == "category" and distinct > len(texts) / 2:
        return f"has {distinct} different words in {len(texts)} rows"
    return ""


def _is_identifier(name: str) -> bool:
    return bool(IDENTIFIER.search(CAMEL_CASE.sub("_", name)))


def _never(_rows: Rows, _parameters: Parameters) -> Model:
    raise AssertionError("a draft is not fitted")


def _project(name: str, columns: Sequence[Column], target: Target, task: Task, by: Split) -> Project[Any]:
    if not columns:
        raise DataError("no column is left that a model could learn from; give a table with features")
    model = name.replace("_", "-")
    return Project(model=model, columns=columns, target=target, task=task, split=by, parameters=Parameters, fit=_never)


def source(found: Draft) -> str:
    """Return the project as Python."""
    project, kinds, target = found.project, found.of_kind, found.project.target
    classifies = bool(target.labels)
    helper = {"integer": "integers", "number": "numbers", "category": "categories", "text": "texts", "time": "times"}
    names = {kind: helper[kind].upper() for kind in kinds}
    amounts = [names[kind] for kind in ("integer", "number") if kind in kinds]
    learner = "LGBMClassifier" if classifies else "LGBMRegressor"
    imported = ["Parameters", "Project", "Rows", *(["Split"] if project.split.by else []), "Target"]
    imported += sorted(helper[kind] for kind in kinds)
    steps = list[str]()
    if amounts:
        steps.append(f'("numbers", "passthrough", [column.name for column in {_joined(amounts)}]),')
    if "category" in kinds:
        encoder = 'OneHotEncoder(handle_unknown="ignore")'
        steps.append(f'("categories", {encoder}, [column.name for column in CATEGORIES]),')
    if "text" in kinds:
        steps.append("*((text.name, TfidfVectorizer(max_features=1000), text.name) for text in TEXTS),")
    if "time" in kinds:
        steps.append('*((f"{time.name} in the week", cycle(WEEK), [time.name]) for time in TIMES),')
        steps.append('*((f"{time.name} in the year", cycle(YEAR), [time.name]) for time in TIMES),')
    declared = [
        f"model={_text(project.model)},",
        *([f"task={_text(project.task)},"] if project.task != "binary" else []),
        f"columns=[{', '.join(f'*{name}' for name in names.values())}],",
        *_call("target=Target", _target_arguments(target), 4),
        *([f"split=Split(how={_text(project.split.how)}, by={_text(project.split.by)}),"] if project.split.by else []),
        "parameters=Boosting,",
        "fit=fit,",
        'packages=["lightgbm"],',
    ]
    left_out = [f"- {name}: it {why}." for name, why in found.left_out.items()]
    lines = [
        f'"""Model project that predicts {target.name}. Written by `mlops new-project`, {found.rows} rows.',
        *(["", "Columns of the table that are no features:", "", *left_out] if left_out else []),
        '"""',
        "",
        f"from lightgbm import {learner}",
        "from pydantic import Field",
        "from sklearn.compose import ColumnTransformer",
        *(["from sklearn.feature_extraction.text import TfidfVectorizer"] if "text" in kinds else []),
        "from sklearn.pipeline import Pipeline",
        *(["from sklearn.preprocessing import OneHotEncoder"] if "category" in kinds else []),
        "",
        f"from training.project import {', '.join(imported)}",
        *(["from training.times import WEEK, YEAR, cycle"] if "time" in kinds else []),
        "",
        *(
            line
            for kind, columns in kinds.items()
            for line in _call(f"{names[kind]} = {helper[kind]}", [*map(_text, columns)], 0)
        ),
        "",
        "",
        "class Boosting(Parameters):",
        '    """Parameters of the boosted trees."""',
        "",
        '    n_estimators: int = Field(default=200, ge=1, le=10_000, description="number of trees")',
        '    learning_rate: float = Field(default=0.05, gt=0, le=1, description="how much a tree may change")',
        "",
        "",
        "def fit(data: Rows, parameters: Boosting) -> Pipeline:",
        '    """Fit boosted trees. A missing number stays missing, and an unknown category is ignored."""',
        "    prepare = ColumnTransformer(",
        "        [",
        *(f"            {step}" for step in steps),
        "        ]",
        "    )",
        f"    boost = {learner}(",
        "        n_estimators=parameters.n_estimators,",
        "        learning_rate=parameters.learning_rate,",
        "        random_state=data.seed,",
        "        deterministic=True,",
        "        verbosity=-1,",
        "    )",
        '    fitted = Pipeline([("prepare", prepare), ("boost", boost)]).fit(data.features, data.labels)',
        "    return fitted.set_params(boost__n_jobs=1)  # a server predicts few rows at a time",
        "",
        "",
        "PROJECT = Project(",
        *(f"    {line}" for line in declared),
        ")",
    ]
    return "\n".join(lines) + "\n"


def _target_arguments(target: Target) -> list[str]:
    labels = [f"labels=({', '.join(map(_text, target.labels))})"] if target.labels else []
    rarest = [f"rarest={target.rarest:g}"] if target.rarest != Target(name="").rarest else []
    return [f"name={_text(target.name)}", *labels, *rarest]


def _call(function: str, arguments: Sequence[str], indent: int) -> Iterator[str]:
    """Yield the lines of a call, in the layout of ruff."""
    end = "," if indent else ""
    if len(one := f"{function}({', '.join(arguments)}){end}") + indent <= WIDTH:
        yield one
        return
    yield f"{function}("
    yield from (f"    {argument}," for argument in arguments)
    yield f"){end}"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(f'*{name}' for name in names)})"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def name_of(uri: str) -> str:
    """Return a name for a project of the table: the file's name in lower case, with `_` for other characters."""
    return re.sub(r"[^a-z0-9]+", "_", Path(uri).stem.lower()).strip("_")
