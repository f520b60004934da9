"""Loads a version without running code that its files bring.

MLflow's own loader runs such code: pickles, Python files beside the model, and any module that MLmodel names. Even the
list of types that skops may create comes from MLmodel, so from the author of the version. Here the list comes from the
code in the image, and a version in another format than skops is not loaded.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel
from skops.io.exceptions import UntrustedTypesFoundException

FILES: Mapping[str, tuple[str, str]] = {
    "mlflow.sklearn": ("sklearn", "pickled_model"),
    "mlflow.lightgbm": ("lightgbm", "data"),
}
"""Flavor, and its key with the file's name, for each loader of MLflow that reads the format of skops."""


class CodeError(Exception):
    """The version cannot be loaded without running code of its files; the message says why."""


class _Described(Protocol):
    flavors: Mapping[str, Mapping[str, Any]]


class _Mlmodel(Protocol):
    def load(self, path: str) -> _Described: ...


class _Skops(Protocol):
    def load(self, file: Path, trusted: Sequence[str]) -> object: ...


@dataclass(frozen=True)
class _Loaded:
    """Model in memory, with the methods of MLflow's own wrappers."""

    model: object
    method: str

    def predict(self, data: object) -> object:
        return getattr(self.model, self.method)(data)

    def get_raw_model(self) -> object:
        return self.model


def load(folder: Path, trusted: Sequence[str]) -> PyFuncModel:
    """Load the model in the folder.

    Args:
        folder: files of the version.
        trusted: types that loading may create, besides those that skops itself trusts.

    Raises:
        CodeError: the model is in another format than skops, brings Python code, or contains other types.
    """
    described = cast("_Mlmodel", Model).load(str(folder))
    function = described.flavors.get("python_function", {})
    loader = str(function.get("loader_module"))
    name, key = FILES.get(loader, ("", ""))
    flavor = described.flavors.get(name, {})
    if function.get("code") or flavor.get("code"):
        raise CodeError("has Python files of its own (`code` in MLmodel)")
    if flavor.get("serialization_format") != "skops":
        saved = flavor.get("serialization_format") or f"a format of {loader}"
        raise CodeError(f"is saved as {saved}, not in the format of skops")
    try:
        model = cast("_Skops", importlib.import_module("skops.io")).load(folder / str(flavor[key]), trusted=trusted)
    except UntrustedTypesFoundException as error:
        raise CodeError(f"has types that the code in the image does not trust ({error})") from error
    wrapped = _Loaded(model, str(function.get("predict_fn", "predict")))
    return PyFuncModel(model_meta=cast("Model", described), model_impl=wrapped)
