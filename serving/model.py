"""A model version from disk to its first prediction."""

from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import mlflow.pyfunc
from mlflow.pyfunc import PyFuncModel

from serving import protocol
from serving.failure import ServingError


@runtime_checkable
class _Estimator(Protocol):
    def get_params(self) -> dict[str, object]: ...
    def set_params(self, **parameters: object) -> object: ...


def load(folder: Path, title: str) -> PyFuncModel:
    """The model in the folder, after it answered its own input example once.

    Raises:
        ServingError: it cannot be loaded, or fails on its example.
    """
    if not (folder / "MLmodel").is_file():
        raise ServingError(f"{folder} holds no model; run `python -m serving.fetch` first, with the same MODEL_DIR")
    try:
        model = mlflow.pyfunc.load_model(str(folder))
    except Exception as error:
        raise ServingError(
            f"{title} cannot be loaded: {_line(error)}; serve another version, or an image with the packages that "
            f"{folder / 'requirements.txt'} names"
        ) from error
    _predict_in_one_thread(model)
    _warm(model, folder / "serving_input_example.json", title)
    return model


def _predict_in_one_thread(model: PyFuncModel) -> None:
    """Requests run side by side; threads inside one of them would only wait for each other."""
    try:
        estimator = cast("object", model.get_raw_model())
    except NotImplementedError:
        return  # not every flavour has something underneath
    if isinstance(estimator, _Estimator):
        estimator.set_params(**{name: 1 for name in estimator.get_params() if name.split("__")[-1] == "n_jobs"})


def _warm(model: PyFuncModel, example: Path, title: str) -> None:
    if not example.is_file():
        return
    answer = protocol.answer(model, protocol.JSON, example.read_bytes())
    if answer.status != 200:
        raise ServingError(f"{title} fails on its own input example: {answer.body}; serve another version", final=True)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
