"""Fixtures of the shared registry and of the models loaded from it."""

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
    """Return a MODEL_DIR with version 1 of the churn model."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(registry.files(1), folder / MODEL / "1")
    return folder


@pytest.fixture(scope="session")
def loaded(models: Path) -> Iterator[Model]:
    """Load version 1, with the variable that makes MLflow check signatures as its own server does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        yield model.load(models / MODEL / "1", f"{MODEL} version 1")
