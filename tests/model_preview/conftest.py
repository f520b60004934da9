"""A real MLflow server with a validated champion and its successors."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from contract.stages import Stage
from model_preview import reading
from model_preview.facts import Change, Facts, Reference, Version
from tests.mlflow_server import Server
from tests.registry import MODEL as TRAINED
from tests.registry import Registry, registry
from training import validate
from training.registry import client as versions
from training.registry import promote
from training.validation.limits import Limits

__all__ = ["registry"]

MODEL = f"previewed-{os.getpid()}"
SERVED, NEXT = 1, 2
"""The champion, and a version that was validated against it."""
# A machine under test may be slow, and 400 rows tell little.
LIMITS = Limits(latency_ms=10_000, resamples=100, any_loss=1, certain_loss=1, slice_loss=1, least={}, slice_least={})
MINUTE = 60.0


@dataclass(frozen=True)
class Lab:
    """An MLflow server at `uri`, in front of the store at `store`."""

    uri: str
    store: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.store)

    def register(self, model: str, trained: int, tags: Mapping[str, str] | None = None, description: str = "") -> int:
        """A new version with the files, metrics and parameters of a trained one, in a run of its own."""
        client = self.client
        source = client.get_model_version(TRAINED, str(trained))
        told = client.get_run(source.run_id or "")
        run = client.create_run(told.info.experiment_id, tags={"requester": "ada"})
        metrics = [Metric(key, value, 0, 0) for key, value in told.data.metrics.items()]
        params = [Param(key, value) for key, value in told.data.params.items()]
        client.log_batch(run.info.run_id, metrics=metrics, params=params)
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model)
        mlflow.set_tracking_uri(self.store)  # a local store resolves models:/ID at the address of the process
        made = client.create_model_version(
            model, source.source or "", run.info.run_id, tags={**source.tags, **(tags or {})}, description=description
        )
        return int(made.version)

    def validate(self, model: str, version: int) -> None:
        asked = validate.Request(model=model, version=version, limits=LIMITS)
        validate.validate(versions.connect(self.store), self.store, asked)

    def promote(self, model: str, version: int | None, stage: Stage = Stage.NONE) -> None:
        asked = promote.Request(model=model, version=version, stage=stage, by="ada", commit="3f2a9c1", why="")
        promote.promote(versions.connect(self.store), asked)

    def tag(self, model: str, version: int, key: str, value: str) -> None:
        self.client.set_model_version_tag(model, str(version), key, value)

    def facts(self, *changes: Change) -> Facts:
        found = reading.read(self.uri, changes, seconds=MINUTE)
        assert isinstance(found, Facts)
        return found

    def version(self, model: str, number: int) -> Version:
        return self.facts(change(model, None, number)).versions[model, number]


def change(model: str, old: int | None, new: int | None, endpoint: str = "churn") -> Change:
    sides = (Reference(model=model, version=number) if number else None for number in (old, new))
    return Change(endpoint=endpoint, old=next(sides), new=next(sides))


@pytest.fixture(scope="session")
def lab(registry: Registry) -> Iterator[Lab]:
    """Tests may add to it under names of their own."""
    server = Server(registry.dataset.parent)
    server.start()
    made = Lab(server.uri, registry.uri)
    # A module of another folder that imports the fixture gets it a second time, over the same store.
    if not made.client.search_registered_models(f"name = '{MODEL}'"):
        for trained in (1, 2):
            made.register(MODEL, trained)
        made.validate(MODEL, SERVED)
        made.promote(MODEL, SERVED, Stage.STAGING)
        made.promote(MODEL, SERVED, Stage.PRODUCTION)
        made.validate(MODEL, NEXT)
    yield made
    server.kill()
