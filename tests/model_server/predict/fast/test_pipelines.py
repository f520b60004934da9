"""Random models: our response equals MLflow's, bit for bit, with and without the fast path.

The seed is fixed. To use another seed, and another number of models:

    PIPELINES_SEED=$RANDOM PIPELINES=1000 pytest tests/model_server/predict/fast/test_pipelines.py --all

A failure shows the seed and the model's number; the same `PIPELINES_SEED` makes the same models.
"""

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from model_server.predict import fallback, model
from model_server.predict.fast.estimators import Texts, UnsureError, Values
from model_server.predict.fast.known import ARGUMENTS
from model_server.predict.scoring import Request, score, score_by_mlflow
from tests.model_server.pipelines import Made, Maker, lightgbm

SEED = os.environ.get("PIPELINES_SEED", "14")
# Errors of the libraries: the model cannot be fitted, or cannot predict these numbers.
LIBRARY_ERRORS = (ValueError, TypeError, lightgbm.basic.LightGBMError)
FEW, MANY = 60, int(os.environ.get("PIPELINES", "1000"))


def body(made: Made, rows: list[tuple[Any, ...]]) -> bytes:
    table = {"columns": list(made.columns), "data": rows}
    return json.dumps({"dataframe_split": table} if made.named else {"inputs": rows}).encode()


def by_mlflow(folder: Path, bodies: list[bytes]) -> list[str | int]:
    """Return the body of each response, or the status of an error."""
    pyfunc = cast("Any", fallback.load(folder))
    schema, said = pyfunc.metadata.get_input_schema(), list[str | int]()
    for content in bodies:
        try:
            said.append(fallback.MLFLOW.invocations(content, "application/json", pyfunc, schema).response)
        except MlflowException as error:
            said.append(error.get_http_status_code())
    return said


def ours(loaded: model.Model, bodies: list[bytes]) -> list[str | int]:
    requests = [Request(content_type="application/json", body=content, request_id="x") for content in bodies]
    left: list[Request] = []
    for _ in chain(score(loaded, left.append, requests), score_by_mlflow(loaded, left)):
        pass
    answers = [request.response for request in requests]
    return [
        response.body.decode() if response and response.status == 200 else response.status
        for response in answers
        if response
    ]


def apart(loaded: model.Model, content: bytes) -> bool:
    """Return whether the fast predictor gives other predictions for the columns of a table than for its rows."""
    rows = loaded.decoder.rows(content) if loaded.decoder and loaded.batched else None
    if not rows:
        return False
    columns = list[Values]()
    for column in zip(*rows, strict=True):
        words = sorted({value for value in column if isinstance(value, str)})
        indexes = np.array([words.index(value) if words else 0 for value in column])
        columns.append(Texts(words=words, indexes=indexes) if words else np.array(column, dtype=np.float64))
    fast = loaded.predictors[0]
    by_rows = outcome(lambda: fast(rows, [len(rows)])[0])
    return by_rows != UnsureError.__name__ and by_rows != outcome(lambda: fast.by_columns(columns))


def outcome(predict: Callable[[], object]) -> str:
    """Return the predictions, or the class of the exception that the model raises, as for infinite numbers."""
    try:
        return repr(predict())
    except (*LIBRARY_ERRORS, UnsureError) as error:
        return type(error).__name__


def check(seed: str, count: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Return the counts of models and of fast predictors, in total and with an example, and the wrong predictions."""
    found, wrong = Counter[str](), list[str]()
    for number in range(count):
        place, kind = folder / str(number), "with an example" if number % 2 else "without one"
        try:
            made = Maker(f"{seed}/{number}").save(place)
        except (*LIBRARY_ERRORS, MlflowException):  # MLflow saves no ranker of LightGBM, as skops does not trust it
            continue
        bodies = [body(made, rows) for rows in made.requests]
        if number % 2:
            (place / model.EXAMPLE).write_bytes(bodies[0])
        loaded = model.load(place, "a random model")
        found.update([f"models {kind}", *([f"on the fast path {kind}"] if loaded.batched else [])])
        if (said := ours(loaded, bodies)) != (right := by_mlflow(place, bodies)):
            differs = [pair for pair in zip(bodies, right, said, strict=True) if pair[1] != pair[2]]
            wrong.append(f"seed {seed}, model {number}, fast={loaded.batched}: {made.title}\n{differs[0]}")
        wrong += [
            f"seed {seed}, model {number}: {made.title} by columns\n{one}" for one in bodies if apart(loaded, one)
        ]
        shutil.rmtree(place)
    return found, wrong


MADE_BY_SAVE = {
    ("sklearn", "Pipeline"): "joins the steps of a model",
    ("onnx_estimators", "OnnxClassifier"): "is a network; tests/onnx_estimators compares it with MLflow",
    ("onnx_estimators", "OnnxRegressor"): "is a network; tests/onnx_estimators compares it with MLflow",
    ("lightgbm", "Booster"): "is taken out of a fitted model",
    ("xgboost", "Booster"): "is taken out of a fitted model",
}


def test_every_class_that_has_a_fast_predictor_is_among_the_random_models() -> None:
    found = set[tuple[str, str]]()
    for number in range(300):
        maker = Maker(f"classes/{number}")
        parts = [maker.final(classes, lines=True) for classes in (0, 2)]
        parts += [maker.step(), maker.encoder(1), maker.columns(["n0"], ["w0"])]
        found |= {(type(part).__module__.partition(".")[0], type(part).__name__) for part in parts}
    assert ARGUMENTS.keys() - found == MADE_BY_SAVE.keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "count", [FEW, pytest.param(MANY, marks=(pytest.mark.long, pytest.mark.nightly))], ids=["few", "many"]
)
def test_a_random_model_is_answered_as_by_mlflow_to_the_last_bit(
    count: int, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "serving")
    found, wrong = check(SEED, count, tmp_path)
    with capfd.disabled():
        print(f"\nseed {SEED}: {dict(sorted(found.items()))}, {len(wrong)} wrong")
    assert wrong == []
    for kind in ("with an example", "without one"):
        assert found[f"on the fast path {kind}"] > 0.4 * found[f"models {kind}"]
