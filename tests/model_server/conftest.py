"""The shared registry, and what serving makes of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_server.predict import model
from model_server.predict.model import Model
from tests.registry import MODEL, Registry, registry

__all__ = ["registry"]


@pytest.fixture(scope="session")
def models(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MODEL_DIR with version 1 of the churn model in it."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(registry.files(1), folder / MODEL / "1")
    return folder


@pytest.fixture(scope="session")
def loaded(models: Path) -> Iterator[Model]:
    """Version 1, loaded, under the name by which MLflow's own server enforces signatures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        yield model.load(models / MODEL / "1", f"{MODEL} version 1")
