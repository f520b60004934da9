"""A version that was downloaded for a validation: its files, signature, model and latency."""

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
from mlflow.pyfunc import scoring_server

from training.mlflow_logging import reason
from training.project import Model as FittedModel
from training.registry import client as versions
from training.registry.client import Client
from training.validation import formats
from training.validation.formats import CodeError

WARM_UP, TIMED = 5, 40


class UnusableError(Exception):
    """The version cannot be loaded or cannot predict; the message says why."""


class Loaded(Protocol):
    """Typed part of MLflow's pyfunc model."""

    def predict(self, data: pd.DataFrame) -> object:
        """Return the predictions that a model server returns."""
        ...

    def get_raw_model(self) -> FittedModel:
        """Return the trained model."""
        ...


class _Described(Protocol):
    signature: ModelSignature | None

    def load_input_example(self, path: str) -> pd.DataFrame | None: ...


class _Scored(Protocol):
    response: str


class _ScoringServer(Protocol):
    def invocations(self, data: str, content_type: str, model: Loaded, input_schema: object) -> _Scored: ...


class _Pyfunc(Protocol):
    def load_model(self, model_uri: str) -> Loaded: ...


class _Mlmodel(Protocol):
    def load(self, path: str) -> _Described: ...


@dataclass(frozen=True)
class Candidate:
    """A version and the folder with its files."""

    number: int
    """Number of the version."""
    folder: Path

    @property
    def signature(self) -> ModelSignature | None:
        """Input and output columns; None if the model was logged without a signature."""
        return self._described().signature

    @property
    def columns(self) -> list[str]:
        """Names of the input columns."""
        inputs = self.signature.inputs if self.signature else None
        return [str(name) for name in inputs.input_names()] if inputs else []

    @property
    def example(self) -> pd.DataFrame | None:
        """Input example that the model was logged with; None if it has none."""
        return self._described().load_input_example(str(self.folder))

    @property
    def requirements(self) -> Sequence[str]:
        """Lines of the version's requirements.txt; empty if it has none."""
        file = self.folder / "requirements.txt"
        return file.read_text().splitlines() if file.is_file() else ()

    @property
    def size_mb(self) -> float:
        """Size of the files in MB (10^6 bytes)."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file()) / 1e6

    def response(self, model: Loaded, body: str) -> str:
        """Return the body of the response of MLflow's own server to a POST /invocations with this JSON body.

        Raises:
            UnusableError: the model refuses the request.
        """
        schema = self.signature.inputs if self.signature else None
        try:
            return cast("_ScoringServer", scoring_server).invocations(body, "application/json", model, schema).response
        except Exception as error:
            raise UnusableError(f"version {self.number} refuses the request: {reason(error)}") from error

    def load(self, trusted: Sequence[str] | None) -> Loaded:
        """Load the model into memory.

        Args:
            trusted: types that loading may create; None to load any format, which may run code of the version.

        Raises:
            UnusableError: it cannot be loaded with the packages of this process, or only by running its code.
        """
        try:
            if trusted is None:
                return cast("_Pyfunc", mlflow_pyfunc).load_model(str(self.folder))
            return cast("Loaded", formats.load(self.folder, trusted))
        except CodeError as error:
            raise UnusableError(
                f"version {self.number} {error}, so loading it could run code of its author; save it in the format of "
                "skops, with types that the project lists in `trusted`, or write validation: {allow_code: true} under "
                "the training job in the stack file"
            ) from error
        except Exception as error:
            raise UnusableError(
                f"version {self.number} cannot be loaded with the packages of this image: {reason(error)}; "
                "train it again with the same packages"
            ) from error

    def _described(self) -> _Described:
        return cast("_Mlmodel", Model).load(str(self.folder))


def fetch(client: Client, uri: str, version: ModelVersion, folder: Path) -> Candidate:
    """Download the version's files into a new folder inside the folder."""
    number = int(version.version)
    target = folder / str(number)
    target.mkdir()
    return Candidate(number, versions.download(client, uri, version, target))


def measure_latency(model: Loaded, example: pd.DataFrame, number: int) -> float:
    """Predict the model's own example, then single rows, and return the 95th percentile of their latency in ms.

    Raises:
        UnusableError: a prediction failed.
    """
    try:
        model.predict(example)
        row = example.head(1)
        seconds: list[float] = []
        for _ in range(WARM_UP + TIMED):
            start = time.perf_counter()
            model.predict(row)
            seconds.append(time.perf_counter() - start)
    except Exception as error:
        raise UnusableError(
            f"version {number} fails on its own input example: {reason(error)}; correct the project and train again"
        ) from error
    return 1000 * float(np.quantile(seconds[WARM_UP:], 0.95))
