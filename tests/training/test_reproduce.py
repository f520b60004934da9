import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.registry import MODEL, ROWS, Registry
from training import reproduce
from training.ending import BadInputError
from training.registry import client as versions
from training.reproduce import Recipe
from training.validation.candidate import fetch

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(registry: Registry) -> Recipe:
    """Recipe of the first version, which the code of this checkout trained."""
    client = versions.connect(registry.uri)
    told = reproduce.recipe(client, client.get_model_version(MODEL, "1"))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return replace(told, commit=head.stdout.strip())


def test_a_version_says_all_that_is_needed_to_make_it_again(registry: Registry) -> None:
    client = versions.connect(registry.uri)
    told = reproduce.recipe(client, client.get_model_version(MODEL, "1"))
    assert (told.project, told.commit, told.dataset) == ("churn", "3f2a9c1", str(registry.dataset))
    assert told.parameters == {"n_estimators": "3", "max_depth": "4"}


def test_the_recorded_commit_makes_the_same_model_again(registry: Registry, recipe: Recipe, tmp_path: Path) -> None:
    client = versions.connect(registry.uri)
    (tmp_path / "recorded").mkdir()
    recorded = fetch(client, registry.uri, client.get_model_version(MODEL, "1"), tmp_path / "recorded")
    again = reproduce.train_again(recipe, registry.uri, tmp_path)
    found = reproduce.compare(recipe, recorded, again)
    assert found.is_same
    assert found.rows == pytest.approx(ROWS / 4, rel=0.1)
    assert not (tmp_path / "code").exists()


def test_another_model_is_not_the_same(registry: Registry, recipe: Recipe, tmp_path: Path) -> None:
    client = versions.connect(registry.uri)
    one, two = (fetch(client, registry.uri, client.get_model_version(MODEL, n), tmp_path) for n in ("1", "2"))
    found = reproduce.compare(recipe, one, two)
    assert not found.is_same
    assert found.largest > 0.01


def test_a_commit_that_cannot_be_had_is_reported(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"commit 0123456 cannot be checked out \(.*\); fetch it with git fetch --all"
    ):
        reproduce.train_again(replace(recipe, commit="0123456-dirty"), "sqlite://", tmp_path)


def test_a_path_with_a_colon_is_found_from_another_folder(
    registry: Registry, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("2026:churn.csv").write_bytes(registry.dataset.read_bytes())
    again = reproduce.train_again(replace(recipe, dataset="2026:churn.csv"), registry.uri, tmp_path)
    assert again.columns
