"""`mlops reproduce`: errors before the models are compared."""

from pathlib import Path

import pytest

from tests.command import Command
from tests.registry import MODEL, Registry

pytestmark = pytest.mark.long


def test_data_that_changed_is_refused(registry: Registry, tmp_path: Path, mlops: Command) -> None:
    changed = tmp_path / "changed.csv"
    changed.write_text(registry.dataset.read_text() + "\n")
    code, said = mlops("reproduce", MODEL, 1, "--dataset", changed, "--tracking-uri", registry.uri)
    last = said.splitlines()[-1]
    assert code == 3
    assert last.startswith(f"mlops: {changed} has changed: its SHA-256 is ")
    assert last.endswith("give the address of the unchanged file with --dataset")
