"""A version on disk, loaded as a server loads it, and what it costs to run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import mlflow.pyfunc as mlflow_pyfunc
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model, ModelSignature

from training.mlflow_logging import reason
from training.project import Classifier
from training.registry import client as versions
from training.registry.client import Client

WARM_UP, TIMED = 5, 40


class UnusableError(Exception):
    """The version cannot be loaded here, or does not predict; the message says why."""


class Loaded(Protocol):
    """MLflow's pyfunc model, of which its own types tell little."""

    def predict(self, data: pd.DataFrame) -> object:
        """The answer that a server gives."""
        ...

    def get_raw_model(self) -> Classifier:
        """What was trained."""
        ...


class _Described(Protocol):
    signature: ModelSignature | None

    def load_input_example(self, path: str) -> pd.DataFrame | None: ...


class _Pyfunc(Protocol):
    def load_model(self, model_uri: str) -> Loaded: ...


class _Mlmodel(Protocol):
    def load(self, path: str) -> _Described: ...


@dataclass(frozen=True)
class Candidate:
    """A version's files in a folder."""

    number: int
    folder: Path

    @property
    def signature(self) -> ModelSignature | None:
        """The columns that it takes and gives; none when it was logged without."""
        return self._described().signature

    @property
    def columns(self) -> list[str]:
        """Names of the columns that it takes."""
        inputs = self.signature.inputs if self.signature else None
        return [str(name) for name in inputs.input_names()] if inputs else []

    @property
    def example(self) -> pd.DataFrame | None:
        """The rows that it was logged with."""
        return self._described().load_input_example(str(self.folder))

    @property
    def requirements(self) -> Sequence[str]:
        """What it was made with, a line for each package."""
        file = self.folder / "requirements.txt"
        return file.read_text().splitlines() if file.is_file() else ()

    @property
    def size_mb(self) -> float:
        """Size of the files, in MB (10^6 bytes)."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file()) / 1e6

    def load(self) -> Loaded:
        """The model in memory.

        Raises:
            UnusableError: it cannot be loaded with the packages that are here.
        """
        try:
            return cast("_Pyfunc", mlflow_pyfunc).load_model(str(self.folder))
        except Exception as error:
            raise UnusableError(f"version {self.number} cannot be loaded here: {reason(error)}") from error

    def _described(self) -> _Described:
        return cast("_Mlmodel", Model).load(str(self.folder))


def fetch(client: Client, uri: str, version: ModelVersion, folder: Path) -> Candidate:
    """The version's files are in a folder of their own inside the folder."""
    number = int(version.version)
    place = folder / str(number)
    place.mkdir()
    return Candidate(number, versions.download(client, uri, version, place))


def answer(model: Loaded, example: pd.DataFrame, number: int) -> float:
    """The model answers its own example, and then one row at a time. Returns what 95 % of those took at most, in ms.

    Raises:
        UnusableError: it fails.
    """
    try:
        model.predict(example)
        row = example.head(1)
        taken: list[float] = []
        for _ in range(WARM_UP + TIMED):
            start = time.perf_counter()
            model.predict(row)
            taken.append(time.perf_counter() - start)
    except Exception as error:
        raise UnusableError(f"version {number} fails on its own input example: {reason(error)}") from error
    return 1000 * float(np.quantile(taken[WARM_UP:], 0.95))
