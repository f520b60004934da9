import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_server.failure import ServingError
from model_server.predict import model
from model_server.predict.fast.estimators import FastPredictor, Matrix, Sizes
from model_server.predict.signature import Signature
from tests.model_server.zoo import ensembles, lines, pipelines, save_sklearn, scalers


def test_a_model_predicts_in_one_thread() -> None:
    forest = pipelines.make_pipeline(scalers.StandardScaler(), ensembles.RandomForestClassifier(n_jobs=-1))
    model.predict_in_one_thread(forest)
    assert forest.get_params()["randomforestclassifier__n_jobs"] == 1


def test_a_loaded_classifier_names_its_classes_and_a_regressor_none(tmp_path: Path) -> None:
    trained: dict[str, object] = {
        "three": ensembles.RandomForestClassifier(3),
        "pipeline": pipelines.make_pipeline(scalers.StandardScaler(), lines.LogisticRegression()),
        "line": lines.LinearRegression(),
    }
    found = {name: model.load(save_sklearn(tmp_path / name, one), name).classes for name, one in trained.items()}
    assert found == {"three": ["0", "1", "2"], "pipeline": ["0", "1"], "line": []}


def test_a_model_of_any_kind_may_name_its_classes_in_its_metadata() -> None:
    assert model.classes_of(None, {"metadata": {"classes": ["No", "Yes"]}}) == ["No", "Yes"]
    others: list[dict[str, Any]] = [
        {},
        {"metadata": None},
        {"metadata": {"classes": "No"}},
        {"metadata": {"classes": [1.5]}},
    ]
    assert [model.classes_of(None, other) for other in others] == [[]] * len(others)


class Stubborn:
    """A model whose parameters cannot be set, as a fitted CatBoost model."""

    def __init__(self, **arguments: object) -> None:
        self.arguments = arguments

    def get_params(self) -> dict[str, object]:
        if "broken" in self.arguments:
            raise AttributeError("no such argument")
        return self.arguments

    def set_params(self, **arguments: object) -> None:
        raise ValueError(f"cannot set {arguments} of a fitted model")


@pytest.mark.parametrize("argument", ["depth", "n_jobs", "broken"])
def test_a_model_that_cannot_be_tuned_is_served_as_it_is(argument: str) -> None:
    stubborn = Stubborn(**{argument: 4})
    model.predict_in_one_thread(stubborn)
    assert stubborn.arguments == {argument: 4}


def test_a_fast_predictor_with_other_predictions_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_sklearn(tmp_path / "line", lines.LinearRegression())
    assert model.load(tmp_path / "line", "line").batched
    nearly = model.fast_predictor

    def wrong(estimator: object, method: str, signature: Signature) -> FastPredictor:
        right = nearly(estimator, method, signature)
        assert right

        def decide(matrix: Matrix, sizes: Sizes) -> Matrix:
            return right.decide(matrix, sizes) * (1 + 1e-15)

        return replace(right, decide=decide)

    monkeypatch.setattr(model, "fast_predictor", wrong)
    caplog.set_level(logging.WARNING, "serving")
    assert not model.load(tmp_path / "line", "line").batched
    assert "the fast predictor is not used" in caplog.text


def test_a_scikit_learn_model_that_is_asked_plainly_needs_neither_mlflow_nor_opentelemetry(tmp_path: Path) -> None:
    """Both imports cost time and memory."""
    save_sklearn(tmp_path / "line", lines.LinearRegression())
    body = json.dumps({"inputs": [dict.fromkeys("abcd", 1)]}).encode()
    code = f"""
import sys
from collections.abc import Sequence
from pathlib import Path
from model_server import app
from model_server.predict import model
from model_server.predict.scoring import Request, score
loaded = model.load(Path({str(tmp_path / "line")!r}), "line")
request = Request(content_type="application/json", body={body!r}, request_id="x")
assert [list(group) for group in score(loaded, print, [request])] == [[request]]
assert request.response.status == 200
assert not {"mlflow", "opentelemetry"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pickles_are_refused_where_they_are_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    save_sklearn(tmp_path / "line", lines.LinearRegression())
    with pytest.raises(ServingError, match=r"line cannot be loaded: .*MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
        model.load(tmp_path / "line", "line", pickles=False)
