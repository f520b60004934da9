"""Function behind `mlops reproduce`: train a version again and compare the two models."""

import json
import logging
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cli.errors import registry_errors
from contract.stages import RefusedError
from training import reproduce as again
from training.registry import client as versions
from training.reproduce import Comparison
from training.validation import candidate, skew


def reproduce(uri: str, model: str, version: int, dataset: str) -> None:
    """Train the version again, print both results, and raise CommandError if they differ."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with registry_errors():
        _reproduce(uri, model, version, dataset)


def _reproduce(uri: str, model: str, number: int, dataset: str) -> None:
    client = versions.connect(uri)
    version = versions.version(client, model, number)
    recipe = again.recipe(client, version, dataset)
    title, console = f"{model} version {number}", Console(highlight=False)
    for name, value in vars(recipe).items():
        text = value if isinstance(value, str) else json.dumps(value)
        console.print(f"{name:10} {text}", markup=False, soft_wrap=True)
    if recipe.commit.endswith("-dirty"):
        console.print(
            "note: the version was trained with uncommitted changes; the commit without them is trained again"
        )
    again.check_data(recipe)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "recorded").mkdir()
        recorded = candidate.fetch(client, uri, version, Path(folder) / "recorded")
        for difference in skew.differences(recorded.requirements):
            console.print(f"note: {difference}", markup=False)
        trained = again.train_again(recipe, f"sqlite:///{folder}/mlflow.db", Path(folder))
        found = again.compare(recipe, recorded, trained)
    console.print(_table(found))
    if not found.is_same:
        raise RefusedError(
            f"{title} is not reproduced: {found.other_labels} of {found.rows} labels differ, and probabilities or "
            f"numbers by up to {found.largest:.2g}; compare the packages and the commit in the notes above"
        )
    print(f"{title} is reproduced: metrics and all {found.rows} predictions are the same")


def _table(found: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "recorded", "again", "difference"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, one in found.recorded.items():
        other = found.again[name]
        table.add_row(name, f"{one:.6f}", f"{other:.6f}", f"{abs(one - other):.2g}")
    table.add_row("other labels", "", f"of {found.rows}", str(found.other_labels))
    table.add_row("probabilities or numbers", "", "at most", f"{found.largest:.2g}")
    return table
