"""Function behind `mlops models`: stage, metrics and validation of each version, and the stacks that serve it."""

import json as jsons
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.errors import CommandError, registry_errors
from contract.stages import Stage, Standing
from contract.tags import GIT_COMMIT, OWN_METRICS, VALIDATED_AGAINST, VALIDATION_STATUS
from contract.tasks import sides
from training import mlflow_logging
from training.registry import claim as claims
from training.registry import client as versions
from training.registry.client import Client, UnknownError

METRICS = ("roc_auc", "f1", "roc_auc_ovr", "f1_macro", "accuracy", "rmse", "mae", "r2")
"""Metrics of all tasks; the table has those that one of its versions has, then the projects' own."""
COLOURS = {
    Stage.PRODUCTION: "green", Stage.STAGING: "yellow", Stage.ARCHIVED: "dim", Stage.NONE: "",
    "passed": "green", "refused": "red",
}  # fmt: skip
BEFORE_METRICS = ("model", "version", "stage", "aliases")
AFTER_METRICS = ("validation", "trained (UTC)", "commit", "served")
SPARE = ("commit", "accuracy", "f1", "f1_macro", "mae", "trained (UTC)", "validation", "aliases")
"""Columns that are left out on a narrow terminal, in this order."""
WIDE = 1000
ENDPOINTS = "mlops:endpoints"
Served = Mapping[tuple[str, int], Sequence[str]]
"""Names of the stacks that serve a version of a model."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Row of the table: one version of a model."""

    model: str
    version: int
    aliases: Sequence[str]
    stage: Stage
    metrics: Mapping[str, float]
    validation: str
    trained: datetime
    commit: str
    served: Sequence[str]


def show(uri: str, models: Sequence[str], served: Sequence[str], *, json: bool) -> None:
    """Print the versions of the models, or of all models when none is named.

    Args:
        uri: address of MLflow.
        models: names in the registry.
        served: versions that stacks serve, each `MODEL=VERSION@STACK` or `FILE@STACK`.
        json: print JSON instead of a table.
    """
    by_version = _served(served)
    client = versions.connect(uri)
    with registry_errors():
        found = rows(client, models, by_version)
        if json:
            print(jsons.dumps([vars(row) | {"trained": row.trained.isoformat()} for row in found], indent=1))
        else:
            _print_all(client, models, found)


def rows(client: Client, names: Sequence[str], served: Served) -> list[Row]:
    """Return the versions of the models, or of all models if none is named; the newest version of each model first.

    Raises:
        UnknownError: there is no such model.
    """
    known = [model.name for model in versions.models(client)]
    if unknown := [name for name in names if name not in known]:
        raise UnknownError(
            f"there is no model {unknown[0]} in the registry; models that exist: {', '.join(known) or 'none'}"
        )
    return [row for name in names or known for row in _rows(client, name, served)]


def _rows(client: Client, name: str, served: Served) -> Iterator[Row]:
    aliases = versions.standing(client, name).aliases
    for found in versions.versions(client, name):
        number = int(found.version)
        yield Row(
            model=name,
            version=number,
            aliases=sorted(alias for alias, target in aliases.items() if target == number),
            stage=Standing(aliases=aliases, version=number, tags=found.tags).stage,
            metrics=versions.measured(found, [*METRICS, *sides(found.tags.get(OWN_METRICS, ""))]),
            validation=_validation(found),
            trained=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            commit=found.tags.get(GIT_COMMIT, "")[:12],
            served=served.get((name, number), ()),
        )


def _validation(found: ModelVersion) -> str:
    status, against = found.tags.get(VALIDATION_STATUS, ""), found.tags.get(VALIDATED_AGAINST, "")
    return f"{status} against {against}" if status and against.isdecimal() else status


def _print_all(client: Client, names: Sequence[str], found: Sequence[Row]) -> None:
    if found:
        _print(found)
    shown = {row.model for row in found}
    if without := [name for name in names or [one.name for one in versions.models(client)] if name not in shown]:
        print(f"no version yet: {', '.join(without)}")
    for name in sorted(shown):
        for claim in claims.standing(client, name):
            print(f"unfinished: {name}: {claim}; the next promotion finishes it")
    print(f"{len(found)} versions of {len(shown)} models")


def _print(found: Sequence[Row]) -> None:
    """Print the table. On a terminal, columns that do not fit are left out; a file or a pipe gets all of them."""
    console = Console(highlight=False)
    table, left_out = _table(found, ()), 0
    if not console.is_terminal:
        console.width = WIDE
    unbounded = console.options.update(max_width=WIDE)
    while console.measure(table, options=unbounded).maximum > console.width and left_out < len(SPARE):
        left_out += 1
        table = _table(found, SPARE[:left_out])
    console.print(table)
    if left_out:
        console.print(
            f"no room for {', '.join(SPARE[:left_out])}: widen the terminal, or add | cat", style="dim", soft_wrap=True
        )


def _table(found: Sequence[Row], left_out: Sequence[str]) -> Table:
    """Return the table with cells as Text, so that a model called `[red]` is not read as markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    present = {metric for row in found for metric in row.metrics}
    metrics = [*(name for name in METRICS if name in present), *sorted(present - {*METRICS})]
    shown = [heading for heading in (*BEFORE_METRICS, *metrics, *AFTER_METRICS) if heading not in left_out]
    for heading in shown:
        numeric = heading in ("version", *metrics)
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=heading != "aliases")
    for place, row in enumerate(found):
        first = place == 0 or found[place - 1].model != row.model
        if first and place:
            table.add_row()
        cells = _cells(row, metrics)
        table.add_row(*(Text("") if heading == "model" and not first else cells[heading] for heading in shown))
    return table


def _cells(row: Row, metrics: Sequence[str]) -> Mapping[str, Text]:
    return {
        "model": Text(row.model),
        "version": Text(str(row.version)),
        "stage": Text(row.stage, COLOURS[row.stage]),
        "aliases": Text(" ".join(f"@{alias}" for alias in row.aliases)),
        **{metric: Text(f"{row.metrics[metric]:.3f}" if metric in row.metrics else "") for metric in metrics},
        "validation": Text(row.validation, COLOURS.get(row.validation.split(" ")[0], "")),
        "trained (UTC)": Text(f"{row.trained:%Y-%m-%d %H:%M}"),
        "commit": Text(row.commit),
        "served": Text(", ".join(row.served)),
    }


class _Endpoint(BaseModel):
    version: int


def _served(words: Sequence[str]) -> Served:
    """Return the versions in the values of --served, each `MODEL=VERSION@STACK` or `FILE@STACK`."""
    served: dict[tuple[str, int], list[str]] = {}
    for word in words:
        what, _, stack = word.rpartition("@")
        model, _, number = what.partition("=")
        if what and number.isdecimal():
            served.setdefault((model, int(number)), []).append(stack)
            continue
        for name, endpoint in _endpoints(what, word).items():
            served.setdefault((name, endpoint.version), []).append(stack)
    return served


def _endpoints(file: str, word: str) -> Mapping[str, _Endpoint]:
    """Return the endpoints of a stack file, or of a JSON file that has only endpoints."""
    form = "write MODEL=VERSION@STACK, or FILE@STACK with a stack file or a JSON object of endpoints"
    try:
        content: Any = yaml.safe_load(Path(file).read_text())
        # `pulumi config get --json` puts the value under objectValue; a stack file has it under config.
        endpoints = content["config"].get(ENDPOINTS, {}) if "config" in content else content.get("objectValue", content)
        return TypeAdapter(dict[str, _Endpoint]).validate_python(endpoints)
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError, ValidationError) as error:
        raise CommandError(
            f"--served {word!r} cannot be read ({mlflow_logging.reason(error)[:120]}); {form}"
        ) from error
