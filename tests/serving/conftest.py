"""The shared registry, and what serving makes of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import fetch, model
from serving.model import Model
from serving.settings import FetchSettings
from tests.registry import MODEL, Registry, registry

__all__ = ["registry"]


@pytest.fixture(scope="session")
def models(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MODEL_DIR with version 1 of the churn model in it."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
            patch.setenv(name, "")
        patch.setenv("MODEL", MODEL)
        patch.setenv("MODEL_VERSION", "1")
        patch.setenv("MODEL_DIR", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", registry.uri)
        fetch.fetch(FetchSettings.load())
    return folder


@pytest.fixture(scope="session")
def loaded(models: Path) -> Iterator[Model]:
    """Version 1, loaded, under the name by which MLflow's own server enforces signatures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        yield model.load(models / MODEL / "1", f"{MODEL} version 1")
