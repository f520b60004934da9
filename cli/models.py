"""Function behind `mlops models`: stage, metrics and validation of each version, and the stacks that serve it."""

import json as jsons
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, Field, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.errors import CommandError, registry_errors
from contract.stages import Stage, Standing
from contract.tags import (
    DRIFT_STATUS,
    DRIFT_WINDOWS,
    GIT_COMMIT,
    OWN_METRICS,
    PROPOSED,
    VALIDATED_AGAINST,
    VALIDATION_STATUS,
)
from contract.tasks import sides
from drift import retrain
from training import mlflow_logging
from training.registry import claim as claims
from training.registry import client as versions
from training.registry.client import Client, UnknownError

METRICS = ("roc_auc", "f1", "roc_auc_ovr", "f1_macro", "accuracy", "rmse", "mae", "r2")
"""Metrics of all tasks; the table has those that one of its versions has, then the projects' own."""
COLOURS = {
    Stage.PRODUCTION: "green", Stage.STAGING: "yellow", Stage.ARCHIVED: "dim", Stage.NONE: "",
    "passed": "green", "refused": "red", "drift": "red",
}  # fmt: skip
BEFORE_METRICS = ("model", "version", "stage", "aliases")
AFTER_METRICS = ("validation", "drift", "proposed", "trained (UTC)", "commit", "served")
SPARE = ("commit", "accuracy", "f1", "f1_macro", "mae", "trained (UTC)", "validation", "proposed", "aliases")
"""Columns that are left out on a narrow terminal, in this order."""
WIDE = 1000
ENDPOINTS, BATCH = "mlops:endpoints", "mlops:batch"
Served = Mapping[tuple[str, int], Sequence[str]]
"""Stacks that use a version of a model, each with the role if the version is not the served one."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Row of the table: one version of a model."""

    model: str
    version: int
    aliases: Sequence[str]
    stage: Stage
    metrics: Mapping[str, float]
    validation: str
    drift: str
    """Result of the last recorded window, windows in a row, and the state of a retraining; empty without any."""
    proposed: str
    """`yes`, or who proposed the version for release; empty if it is not proposed."""
    trained: datetime
    commit: str
    served: Sequence[str]
    """Stacks that use the version, as in `prod` or `prod (challenger, 10 %)`."""


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
            drift=_drift(found),
            proposed=_proposed(found),
            trained=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            commit=found.tags.get(GIT_COMMIT, "")[:12],
            served=served.get((name, number), ()),
        )


def _validation(found: ModelVersion) -> str:
    status, against = found.tags.get(VALIDATION_STATUS, ""), found.tags.get(VALIDATED_AGAINST, "")
    return f"{status} against {against}" if status and against.isdecimal() else status


def _drift(found: ModelVersion) -> str:
    windows, again = found.tags.get(DRIFT_WINDOWS, "0"), retrain.of(found)
    status = found.tags.get(DRIFT_STATUS, "")
    counted = f"{status} x{windows}" if windows != "0" else status
    if again is None:
        return counted
    made = f" {again.version}" if again.version else ""
    return f"{counted}, retraining: {again.status}{made}".removeprefix(", ")


def _proposed(found: ModelVersion) -> str:
    text = found.tags.get(PROPOSED, "false")
    return "" if text == "false" else "by drift" if '"by": "drift"' in text else "yes"


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
    absent = {heading for heading in ("drift", "proposed") if not any(vars(row)[heading] for row in found)}
    shown = [heading for heading in (*BEFORE_METRICS, *metrics, *AFTER_METRICS) if heading not in {*left_out, *absent}]
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
        "drift": Text(row.drift, COLOURS.get(row.drift.split(" ")[0], "")),
        "proposed": Text(row.proposed),
        "trained (UTC)": Text(f"{row.trained:%Y-%m-%d %H:%M}"),
        "commit": Text(row.commit),
        "served": Text(", ".join(row.served)),
    }


class _Version(BaseModel):
    version: int


class _Batch(_Version):
    model: str | None = None


class _Challenger(_Version):
    percent: int


class _Endpoint(_Batch):
    challenger: _Challenger | None = None
    shadow: _Version | None = None


class _Entries(BaseModel):
    """Endpoints and batches of a stack file."""

    endpoints: dict[str, _Endpoint] = Field(default={}, alias=ENDPOINTS)
    batch: dict[str, _Batch] = Field(default={}, alias=BATCH)

    def versions(self) -> Iterator[tuple[str, int, str]]:
        """Yield model, version and role of all versions; the role of a served version is empty."""
        for name, endpoint in self.endpoints.items():
            model, challenger, shadow = endpoint.model or name, endpoint.challenger, endpoint.shadow
            yield model, endpoint.version, ""
            if challenger:
                yield model, challenger.version, f" (challenger, {challenger.percent} %)"
            if shadow:
                yield model, shadow.version, " (shadow)"
        for name, batch in self.batch.items():
            yield batch.model or name, batch.version, " (batch)"


def _served(words: Sequence[str]) -> Served:
    """Return the versions in the values of --served, each `MODEL=VERSION@STACK` or `FILE@STACK`."""
    served: dict[tuple[str, int], list[str]] = {}
    for word in words:
        what, _, stack = word.rpartition("@")
        model, _, number = what.partition("=")
        if what and number.isdecimal():
            served.setdefault((model, int(number)), []).append(stack)
            continue
        for name, version, role in _entries(what, word).versions():
            served.setdefault((name, version), []).append(f"{stack}{role}")
    return served


def _entries(file: str, word: str) -> _Entries:
    """Return the endpoints and batches of a stack file, or those of a JSON file that has only endpoints."""
    form = "write MODEL=VERSION@STACK, or FILE@STACK with a stack file or a JSON object of endpoints"
    try:
        content: Any = yaml.safe_load(Path(file).read_text())
        # `pulumi config get --json` puts the value under objectValue; a stack file has it under config.
        keys = content["config"] if "config" in content else {ENDPOINTS: content.get("objectValue", content)}
        return _Entries.model_validate(keys)
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError, ValidationError) as error:
        raise CommandError(
            f"--served {word!r} cannot be read ({mlflow_logging.reason(error)[:120]}); {form}"
        ) from error
