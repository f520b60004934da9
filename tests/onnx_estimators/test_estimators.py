"""A network in ONNX format as the last step of a model: the answers of MLflow, by the fast predictor."""

import json
from base64 import b64decode
from itertools import chain
from pathlib import Path
from typing import Any, cast

import mlflow.sklearn as mlflow_sklearn
import numpy as np
import pandas as pd
import pytest
import skops.io
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from skops.io.exceptions import UntrustedTypesFoundException

from model_server.predict import model
from model_server.predict.fallback import MLFLOW, load
from model_server.predict.scoring import Request, score, score_by_mlflow
from onnx_estimators.classifier import OnnxClassifier
from onnx_estimators.regressor import OnnxRegressor
from tests.model_server.pipelines import compose, encoders, pipelines
from tests.model_server.zoo import Flavor

# softmax(rows @ weights): 5 numbers, 3 labels.
NETWORK = b64decode(
    "CAg6xwEKFAoEcm93cwoBdxIBcyIGTWF0TXVsCigKAXMSDXByb2JhYmlsaXRpZXMiB1NvZnRtYXgqCwoEYXhpcxgBoAECEgFnKkcIBQgDEAFCAXdK"
    "PAAAwD8AAAC/AACAPgAAgL8AAEA/AAAAPwAAAD8AAAAAAAAAvwAAAAAAAIA/AACAvwAAAL8AAAA/AACAP1oXCgRyb3dzEg8KDQgBEgkKAxIBbgoC"
    "CAViIAoNcHJvYmFiaWxpdGllcxIPCg0IARIJCgMSAW4KAggDQgQKABAR"
)
WEIGHTS = np.array([[1.5, -0.5, 0.25], [-1, 0.75, 0.5], [0.5, 0, -0.5], [0, 1, -1], [-0.5, 0.5, 1]])
LABELS = ("no", "yes", "perhaps")
# rows @ SLOPES: 5 numbers, 1 number.
REGRESSION = b64decode(
    "CAg6dQoaCgRyb3dzCgF3EgdudW1iZXJzIgZNYXRNdWwSAWcqHwgFCAEQAUIBd0oUAADAPwAAAL8AAIA+AACAvwAAAD9aFwoEcm93cxIPCg0IARIJ"
    "CgMSAW4KAggFYhoKB251bWJlcnMSDwoNCAESCQoDEgFuCgIIAUIECgAQEQ=="
)
SLOPES = np.array([1.5, -0.5, 0.25, -1, 0.5])
ESTIMATORS = {
    "classifier": (OnnxClassifier(NETWORK, LABELS), "onnx_estimators.classifier.OnnxClassifier"),
    "regressor": (OnnxRegressor(REGRESSION, 4000.0, 250.0), "onnx_estimators.regressor.OnnxRegressor"),
}


def rows(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(count)
    return pd.DataFrame(
        {
            "a": rng.normal(10, 3, count),
            "b": rng.normal(0, 1e-3, count),
            "c": rng.choice(["x", "y", "z", "unknown"], count, p=[0.4, 0.3, 0.2, 0.1]),
        }
    )


@pytest.fixture(params=[*ESTIMATORS])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """Folder of a model whose last step is the estimator, and the estimator's type."""
    estimator, trusted = ESTIMATORS[request.param]
    prepare = compose.ColumnTransformer(
        [
            ("numbers", encoders.StandardScaler(), ["a", "b"]),
            ("words", encoders.OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["c"]),
        ],
        sparse_threshold=0,
    )
    table = rows(200)
    prepare.fit(table[table.c != "unknown"])
    made = pipelines.Pipeline([("prepare", prepare), ("network", estimator)])
    folder = tmp_path / "1"
    cast("Flavor", mlflow_sklearn).save_model(
        made,
        str(folder),
        signature=ModelSignature(Schema([ColSpec("double", "a"), ColSpec("double", "b"), ColSpec("string", "c")])),
        pip_requirements=[],
        skops_trusted_types=[trusted],
        serialization_format="skops",
    )
    return folder, trusted


def test_probabilities_are_those_of_the_network_and_labels_the_most_probable() -> None:
    given = np.random.default_rng(1).normal(size=(50, 5))
    scores = np.exp(given @ WEIGHTS)
    classifier = OnnxClassifier(NETWORK, LABELS)
    assert np.abs(classifier.predict_proba(given) - scores / scores.sum(axis=1, keepdims=True)).max() < 1e-6
    assert [*classifier.predict(given)] == [LABELS[best] for best in scores.argmax(axis=1)]
    assert [*classifier.classes_] == [*LABELS]


def test_numbers_are_those_of_the_network_in_the_unit_of_the_target() -> None:
    given = np.random.default_rng(1).normal(size=(50, 5))
    found = OnnxRegressor(REGRESSION, 4000.0, 250.0).predict(given)
    assert np.abs(found - (given @ SLOPES * 250 + 4000)).max() < 1e-3


def test_the_server_answers_as_mlflow_by_its_fast_predictor(saved: tuple[Path, str]) -> None:
    loaded = model.load(saved[0], "a model")
    assert loaded.batched
    pyfunc = cast("Any", load(saved[0]))
    for count in (1, 2, 17):
        split = json.loads(rows(count).to_json(orient="split", index=False))
        sent = json.dumps({"dataframe_split": split}).encode()
        expected = MLFLOW.invocations(sent, "application/json", pyfunc, pyfunc.metadata.get_input_schema()).response
        request, left = Request(content_type="application/json", body=sent, request_id="x"), list[Request]()
        assert list(chain(score(loaded, left.append, [request]), score_by_mlflow(loaded, left)))
        assert not left
        assert request.response
        assert request.response.body.decode() == expected


def test_a_model_with_a_network_is_loaded_only_where_its_type_is_trusted(saved: tuple[Path, str]) -> None:
    folder, trusted = saved
    with pytest.raises(UntrustedTypesFoundException, match=trusted):
        skops.io.load(folder / "model.skops", trusted=[])
    assert skops.io.load(folder / "model.skops", trusted=[trusted])
