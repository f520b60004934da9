"""Boosted trees in every format of MLflow predict plain rows as `mlflow.pyfunc` predicts the table."""

import random
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import mlflow.lightgbm as mlflow_lightgbm
import mlflow.sklearn as mlflow_sklearn
import mlflow.xgboost as mlflow_xgboost
import numpy as np
import pandas as pd
import pytest

from model_server.failure import root_cause
from model_server.predict import model
from model_server.predict.decoding import Row
from model_server.predict.fallback import load
from model_server.predict.fast.boosted import boosted
from model_server.predict.frames import ModelError
from tests.model_server.zoo import COLUMNS, Flavor, signature, table

compose, encoders, pipelines = (
    cast("Any", import_module(f"sklearn.{part}")) for part in ("compose", "preprocessing", "pipeline")
)
lightgbm, xgboost = cast("Any", import_module("lightgbm")), cast("Any", import_module("xgboost"))
pytestmark = pytest.mark.long

WORDS = ("Month-to-month", "One year", "Two year")
SETTINGS: Mapping[str, Any] = {"n_estimators": 25, "verbosity": -1, "random_state": 1, "min_child_samples": 5}
MODELS = {
    "classifier": ("sklearn", "predict"),
    "classifier's probabilities": ("sklearn", "predict_proba"),
    "classifier of three": ("lightgbm", "predict"),
    "probabilities of three": ("sklearn", "predict_proba"),
    "regressor": ("lightgbm", "predict"),
    "booster": ("lightgbm", "predict"),
    "pipeline with words": ("sklearn", "predict"),
    "pipeline's probabilities": ("sklearn", "predict_proba"),
    "xgboost's classifier": ("xgboost", "predict"),
    "xgboost's probabilities": ("sklearn", "predict_proba"),
    "xgboost's classifier of three": ("xgboost", "predict"),
    "xgboost's probabilities of three": ("sklearn", "predict_proba"),
    "xgboost's regressor": ("xgboost", "predict"),
    "xgboost's forest": ("xgboost", "predict"),
    "xgboost's booster": ("xgboost", "predict"),
    "xgboost's booster of three": ("xgboost", "predict"),
    "xgboost's pipeline": ("sklearn", "predict"),
}
XGBOOST: Mapping[str, Any] = {"n_estimators": 25, "random_state": 1, "max_depth": 4}


def fitted(name: str) -> tuple[Any, dict[str, str]]:
    """Return the fitted model and the kinds of its columns."""
    values, labels = table(400, 3 if "three" in name else 2)
    if name.startswith("xgboost"):
        return by_xgboost(name, values, labels), dict(COLUMNS)
    named = np.array(["No", "Yes", "Perhaps"])[labels]
    if name == "booster":
        data = lightgbm.Dataset(values, labels, params={"verbosity": -1})
        return lightgbm.train({"objective": "binary", **SETTINGS}, data), dict(COLUMNS)
    if name == "regressor":
        return lightgbm.LGBMRegressor(**SETTINGS).fit(values, values.a * values.b), dict(COLUMNS)
    if "pipeline" not in name:
        return lightgbm.LGBMClassifier(**SETTINGS).fit(values, named), dict(COLUMNS)
    values = values.assign(e=np.array(WORDS)[labels], f="x")
    encode = encoders.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    prepare = compose.ColumnTransformer([("numbers", "passthrough", list("abcd")), ("words", encode, ["e", "f"])])
    pipeline = pipelines.Pipeline([("prepare", prepare), ("boost", lightgbm.LGBMClassifier(**SETTINGS))])
    kinds = {**COLUMNS, "e": "string", "f": "string"}
    return pipeline.fit(values, named, boost__categorical_feature=[4, 5]), kinds


def by_xgboost(name: str, values: pd.DataFrame, labels: Any) -> Any:
    """Fit the model named in the test; a single classifier stops early, before its last tree."""
    if "booster" in name:
        objective = (
            {"objective": "multi:softprob", "num_class": 3} if "three" in name else {"objective": "reg:logistic"}
        )
        return xgboost.train(objective, xgboost.DMatrix(values, labels), 25)
    if "regressor" in name:
        return xgboost.XGBRegressor(**XGBOOST).fit(values, values.a * values.b)
    if "forest" in name:
        return xgboost.XGBRFClassifier(**XGBOOST).fit(values, labels)
    if "pipeline" in name:
        scaled = pipelines.make_pipeline(encoders.StandardScaler(), xgboost.XGBClassifier(**XGBOOST))
        return scaled.fit(values, labels)
    patient = xgboost.XGBClassifier(**{**XGBOOST, "learning_rate": 1, "early_stopping_rounds": 3})
    return patient.fit(values[:300], labels[:300], eval_set=[(values[300:], labels[300:])], verbose=False)


def save(folder: Path, name: str) -> Path:
    estimator, kinds = fitted(name)
    flavor, method = MODELS[name]
    more: dict[str, Any] = {"signature": signature(kinds), "pip_requirements": []}
    if flavor == "sklearn":
        more |= {"pyfunc_predict_fn": method}
    saver = {"sklearn": mlflow_sklearn, "lightgbm": mlflow_lightgbm, "xgboost": mlflow_xgboost}[flavor]
    if name != "booster" and flavor != "xgboost":
        more |= {"serialization_format": "cloudpickle"}
    cast("Flavor", saver).save_model(estimator, str(folder), **more)
    return folder


def rows_of(kinds: Mapping[str, str], count: int, rng: random.Random, most: float) -> list[Row]:
    draw = {
        "double": lambda: rng.choice((rng.gauss(0, 2), rng.gauss(0, 2), most, -0.0, None)),
        "long": lambda: rng.randint(-60, 60),
        "integer": lambda: rng.randint(-1, 9),
        "string": lambda: rng.choice((*WORDS, "x", "new")),
    }
    return [tuple(draw[kind]() for kind in kinds.values()) for _ in range(count)]


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", MODELS)
def test_plain_rows_are_answered_without_a_table_as_pyfunc_answers_the_table(name: str, tmp_path: Path) -> None:
    loaded = model.load(save(tmp_path / "model", name), name)
    assert loaded.batched
    quick = loaded.predictors[0]
    assert loaded.signature
    columns = loaded.signature.columns
    pyfunc, rng = cast("Any", load(tmp_path / "model")), random.Random(name)
    for _ in range(8):
        sizes = [rng.choice((1, 1, 2, 30)) for _ in range(rng.randint(1, 6))]
        most = 1e30 if "xgboost's booster" in name else 1e300
        rows = rows_of({column.name: column.kind for column in columns}, sum(sizes), rng, most)
        frame = pd.DataFrame(rows, columns=loaded.signature.names)
        frame = frame.astype({c.name: {"integer": "int32", "long": "int64"}.get(c.kind, "object") for c in columns})
        frame = frame.astype({column.name: "float64" for column in columns if column.kind == "double"})
        answers = [value for part in quick(rows, sizes) for value in part]
        assert repr(answers) == repr(np.asarray(pyfunc.predict(frame)).tolist())


def test_a_booster_that_learned_from_words_of_a_table_is_left_to_pyfunc() -> None:
    values, labels = table(200)
    data = lightgbm.Dataset(values.assign(a=pd.Categorical(values.b % 3)), labels, params={"verbosity": -1})
    assert boosted(lightgbm.train({"objective": "binary", **SETTINGS}, data), "predict") is None


def test_a_model_with_more_parameters_than_its_class_has_is_left_to_pyfunc() -> None:
    """Such parameters may change a prediction, as `pred_early_stop` does."""
    values, labels = table(200)
    assert boosted(lightgbm.LGBMClassifier(**SETTINGS).fit(values, labels), "predict")
    hasty = lightgbm.LGBMClassifier(**SETTINGS, pred_early_stop=True).fit(values, labels)
    assert boosted(hasty, "predict") is None


def test_a_number_that_a_booster_of_xgboost_refuses_is_refused_without_a_table_too(tmp_path: Path) -> None:
    loaded = model.load(save(tmp_path / "model", "xgboost's booster"), "xgboost's booster")
    assert len(loaded.predictors) == 2
    for way in loaded.predictors:
        with pytest.raises((ModelError, ValueError, xgboost.core.XGBoostError)) as refused:
            way([(1e300, 1, 1.0, 1)], [1])
        assert "`inf` or a value too large" in root_cause(refused.value)


def test_xgboost_with_several_labels_and_a_score_of_its_own_still_predicts() -> None:
    values, labels = table(200, 3)
    fit = pipelines.make_pipeline(xgboost.XGBClassifier(**XGBOOST, booster="dart", base_score=0.3)).fit(values, labels)
    right = fit.predict_proba(values)
    model.predict_in_one_thread(fit)
    assert np.array_equal(fit.predict_proba(values), right)


def test_xgboost_is_not_asked_about_columns_in_another_order_than_it_learned(tmp_path: Path) -> None:
    values, labels = table(200)
    fitted_otherwise = xgboost.XGBClassifier(**XGBOOST).fit(values[list("dcba")], labels)
    cast("Flavor", mlflow_xgboost).save_model(
        fitted_otherwise, str(tmp_path), signature=signature(COLUMNS), pip_requirements=[]
    )
    assert not model.load(tmp_path, "otherwise").batched


def test_xgboost_that_learned_from_words_of_a_table_is_left_to_pyfunc() -> None:
    values, labels = table(200)
    worded = values.assign(a=pd.Categorical(values.b % 3))
    assert boosted(xgboost.XGBClassifier(**XGBOOST, enable_categorical=True).fit(worded, labels), "predict") is None
