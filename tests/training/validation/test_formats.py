"""Versions whose files run code when MLflow loads them."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import mlflow.sklearn as mlflow_sklearn
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from training.mlflow_logging import TRUSTED
from training.validation import formats
from training.validation.candidate import Candidate, UnusableError
from training.validation.formats import CodeError

TABLE = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
PLACE: list[Path] = []
"""File that the code of a version writes."""


class Touches(BaseEstimator):
    """Model that runs code when it is loaded: pickle calls `touch`, and skops `__setstate__`."""

    def predict(self, data: pd.DataFrame) -> Any:
        return np.zeros(len(data))

    def __reduce__(self) -> Any:
        return Path.touch, (PLACE[-1],)

    def __setstate__(self, state: object) -> None:
        del state
        PLACE[-1].touch()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    PLACE.append(tmp_path / "ran")
    return PLACE[-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Version in the format of skops, as the platform saves it."""
    saved = tmp_path / "version"
    model = cast("Any", LogisticRegression()).fit(TABLE, [0, 0, 1, 1])
    cast("Any", mlflow_sklearn).save_model(model, saved, pip_requirements=[], serialization_format="skops")
    return saved


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    told = yaml.safe_load((folder / "MLmodel").read_text())
    change(told["flavors"])
    (folder / "MLmodel").write_text(yaml.safe_dump(told))


def as_pickle(folder: Path) -> None:
    (folder / "model.skops").write_bytes(pickle.dumps(Touches()))
    edit(folder, lambda flavors: flavors["sklearn"].update(serialization_format="cloudpickle"))


def with_python_files(folder: Path) -> None:
    (folder / "code").mkdir()
    loads = f"import pathlib\ndef _load_pyfunc(path):\n    pathlib.Path({str(PLACE[-1])!r}).touch()\n"
    (folder / "code" / "theirs.py").write_text(loads)
    edit(folder, lambda flavors: flavors["python_function"].update(loader_module="theirs", code="code"))


def of_another_flavor(folder: Path) -> None:
    """Name MLflow's own loader of Python models, which unpickles the model."""
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Touches()))
    told = {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl", "cloudpickle_version": "3"}
    edit(folder, lambda flavors: flavors["python_function"].update(told))


def with_types_that_trust_themselves(folder: Path) -> None:
    skops.io.dump(Touches(), folder / "model.skops")
    kind = f"{Touches.__module__}.{Touches.__qualname__}"
    edit(folder, lambda flavors: flavors["sklearn"].update(skops_trusted_types=[kind]))


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (as_pickle, "version 2 is saved as cloudpickle, not in the format of skops"),
        (with_python_files, "version 2 has Python files of its own"),
        (of_another_flavor, "version 2 is saved as a format of mlflow.pyfunc.model, not in the format of skops"),
        (with_types_that_trust_themselves, "version 2 has types that the code in the image does not trust .*Touches"),
    ],
)
def test_what_runs_code_in_mlflows_loader_is_refused_and_runs_none(
    folder: Path, place: Path, attack: Callable[[Path], None], said: str
) -> None:
    attack(folder)
    version = Candidate(2, folder)
    with pytest.raises(UnusableError, match=said) as refused:
        version.load(TRUSTED)
    assert "allow_code: true" in str(refused.value)
    assert not place.exists()
    with suppress(UnusableError):
        version.load(None)
    assert place.exists(), "the attack does not work, so the test shows nothing"


def test_a_version_in_the_format_of_skops_predicts_as_in_mlflow(folder: Path) -> None:
    version = Candidate(2, folder)
    assert list(np.asarray(version.load(TRUSTED).predict(TABLE))) == list(np.asarray(version.load(None).predict(TABLE)))
    assert isinstance(version.load(TRUSTED).get_raw_model(), LogisticRegression)


def test_the_method_that_the_version_names_predicts(folder: Path) -> None:
    edit(folder, lambda flavors: flavors["python_function"].update(predict_fn="predict_proba"))
    assert np.asarray(Candidate(2, folder).load(TRUSTED).predict(TABLE)).shape == (4, 2)


def test_a_version_of_lightgbm_in_the_format_of_skops_is_loaded(folder: Path) -> None:
    edit(
        folder,
        lambda flavors: flavors.update(
            python_function=flavors["python_function"] | {"loader_module": "mlflow.lightgbm"},
            lightgbm={"data": "model.skops", "serialization_format": "skops"},
        ),
    )
    assert Candidate(2, folder).load(TRUSTED).get_raw_model()


def test_a_type_that_the_project_trusts_is_loaded(folder: Path, place: Path) -> None:
    with_types_that_trust_themselves(folder)
    with pytest.raises(CodeError):
        formats.load(folder, ())
    formats.load(folder, [f"{Touches.__module__}.{Touches.__qualname__}"])
    assert place.exists()
