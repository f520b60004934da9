"""Models that must have no fast predictor, and what MLflow's flavour wrappers do beyond `predict`."""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import mlflow.sklearn as mlflow_sklearn
import mlflow.xgboost as mlflow_xgboost
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

from model_server.predict import model
from model_server.predict.decoding import Row
from model_server.predict.fallback import MLFLOW, load
from model_server.predict.fast import probes
from model_server.predict.fast.estimators import Sizes, UnsureError
from model_server.predict.fast.known import known
from model_server.predict.scoring import Request, score, score_by_mlflow
from tests.model_server.pipelines import compose, encoders, impute, lightgbm, lines, pipelines, trees, xgboost
from tests.model_server.zoo import Flavor

pytestmark = pytest.mark.filterwarnings("ignore")


class Place:
    """A user-defined estimator that uses the index of its table."""

    def fit(self, *_: object) -> "Place":
        return self

    def get_params(self, **_: object) -> dict[str, object]:
        return {}

    def predict(self, table: pd.DataFrame) -> list[int]:
        return list(table.index)


def save(folder: Path, estimator: object, kinds: dict[str, str], **more: Any) -> Path:
    signature = ModelSignature(Schema([ColSpec(kind, name) for name, kind in kinds.items()]))
    cast("Flavor", mlflow_sklearn).save_model(
        estimator, str(folder), signature=signature, pip_requirements=[], serialization_format="cloudpickle", **more
    )
    return folder


def both(folder: Path, body: object) -> tuple[str, str]:
    """Return MLflow's response to the body, and ours."""
    pyfunc = cast("Any", load(folder))
    sent = json.dumps(body).encode()
    right = MLFLOW.invocations(sent, "application/json", pyfunc, pyfunc.metadata.get_input_schema()).response
    request, left = Request(content_type="application/json", body=sent, request_id="x"), list[Request]()
    loaded = model.load(folder, "a model")
    assert list(chain(score(loaded, left.append, [request]), score_by_mlflow(loaded, left)))
    assert request.response
    return right, request.response.body.decode()


def split(columns: list[str], *rows: list[Any], **more: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": rows, **more}}


def shops() -> tuple[pd.DataFrame, "np.ndarray[Any, Any]"]:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({
        "visits": rng.normal(size=600),
        "shop": [f"s{place:02}" for place in rng.integers(0, 30, 600)],
        "town": [f"t{place:02}" for place in rng.integers(0, 30, 600)],
    })  # fmt: skip
    return table, table.visits.to_numpy() * 9 + table.shop.str[1:].astype(int).to_numpy()


def test_a_sparse_table_is_not_a_table_of_zeros_to_xgboost(tmp_path: Path) -> None:
    table, label = shops()
    prepare = compose.ColumnTransformer(
        [("n", "passthrough", ["visits"]), ("s", encoders.OneHotEncoder(), ["shop", "town"])]
    )
    estimator = pipelines.make_pipeline(prepare, xgboost.XGBRegressor(n_estimators=20)).fit(table, label)
    save(tmp_path / "model", estimator, {"visits": "double", "shop": "string", "town": "string"})
    right, said = both(tmp_path / "model", split(["visits", "shop", "town"], [1.0, "s07", "t10"], [0.2, "s01", "t02"]))
    assert said == right


def test_the_weights_of_a_column_transformer_count(tmp_path: Path) -> None:
    table, _ = shops()
    blocks = [("n", "passthrough", ["visits"]), ("s", encoders.OneHotEncoder(), ["shop"])]
    prepare = compose.ColumnTransformer(blocks, transformer_weights={"n": 2})
    estimator = pipelines.make_pipeline(prepare, trees.DecisionTreeRegressor(max_depth=6)).fit(table, table.visits)
    save(tmp_path / "model", estimator, {"visits": "double", "shop": "string", "town": "string"})
    right, said = both(tmp_path / "model", split(["visits", "shop", "town"], [0.4, "s07", "t10"], [0.8, "s29", "t10"]))
    assert said == right


def test_whole_numbers_are_added_up_as_scikit_learn_adds_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({name: rng.integers(-9, 9, 60) for name in "abc"})
    estimator = lines.LogisticRegression(max_iter=60).fit(table, rng.integers(0, 2, 60))
    save(tmp_path / "model", estimator, dict.fromkeys("abc", "long"), pyfunc_predict_fn="predict_proba")
    right, said = both(tmp_path / "model", split(list("abc"), *rng.integers(-9, 9, (30, 3)).tolist()))
    assert said == right


def test_a_custom_estimator_gets_the_index_that_mlflow_gives_it(tmp_path: Path) -> None:
    save(tmp_path / "model", Place(), {"a": "double"})
    right, said = both(tmp_path / "model", split(["a"], [1.0], [2.0], index=[7, 9]))
    assert said == right == '{"predictions": [7, 9]}'


def test_a_method_that_was_set_on_the_object_is_not_passed_by() -> None:
    table, label = shops()
    tree = trees.DecisionTreeRegressor(max_depth=2).fit(table[["visits"]], label)
    assert known(tree) == "DecisionTreeRegressor"
    tree.predict = print
    assert known(tree) == ""


def of_ones_own(*_: object) -> None:
    """A user-defined function in place of a setting."""


NUMBERS: Any = [("n", "passthrough", ["a"])]


@pytest.mark.parametrize(
    "estimator",
    [
        encoders.StandardScaler(with_mean=False),
        encoders.OneHotEncoder(handle_unknown="ignore"),
        encoders.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        encoders.FunctionTransformer(),
        impute.SimpleImputer(strategy="median"),
        compose.ColumnTransformer(NUMBERS, remainder="passthrough"),
        trees.DecisionTreeClassifier(max_depth=3),
        xgboost.XGBClassifier(booster="dart", feature_types=["float", "int"]),
        lightgbm.LGBMRegressor(objective="poisson"),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_whose_arguments_change_nothing_is_taken_apart(estimator: object) -> None:
    assert known(estimator) == type(estimator).__name__


@pytest.mark.parametrize(
    "estimator",
    [
        encoders.MinMaxScaler(),
        encoders.StandardScaler().set_output(transform="pandas"),
        encoders.OneHotEncoder(drop="first"),
        encoders.OneHotEncoder(dtype=np.float32),
        encoders.OneHotEncoder(min_frequency=3),
        encoders.OneHotEncoder(handle_unknown="infrequent_if_exist"),
        encoders.OrdinalEncoder(dtype=np.int64),
        encoders.OrdinalEncoder(max_categories=2),
        encoders.FunctionTransformer(np.abs),
        encoders.FunctionTransformer(validate=True),
        impute.SimpleImputer(missing_values=0),
        impute.SimpleImputer(missing_values=None),
        impute.SimpleImputer(strategy=of_ones_own),
        impute.SimpleImputer(add_indicator=True),
        compose.ColumnTransformer(NUMBERS, transformer_weights={"n": 2}),
        xgboost.XGBClassifier(booster="gblinear"),
        xgboost.XGBClassifier(missing=0.0),
        xgboost.XGBClassifier(feature_types=["c"]),
        lightgbm.LGBMRegressor(objective=of_ones_own),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_with_an_argument_that_changes_an_answer_is_left_to_its_own_predict(estimator: object) -> None:
    assert known(estimator) == ""


def test_an_argument_that_is_not_listed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def arguments(_: object, **__: object) -> dict[str, object]:
        return {"copy": True, "of_a_later_release": 1}

    scaler = encoders.StandardScaler()
    assert known(scaler) == "StandardScaler"
    monkeypatch.setattr(encoders.StandardScaler, "get_params", arguments)
    assert known(scaler) == ""


@pytest.mark.parametrize("params", [{}, {"params": {"output_margin": True}}, {"params": {"output_margin": False}}])
@pytest.mark.parametrize(("declared", "booster"), [(False, False), (True, False), (True, True)])
def test_params_reach_xgboost_and_so_do_the_defaults_of_the_signature(
    tmp_path: Path, params: dict[str, Any], *, declared: bool, booster: bool
) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(80, 3)), columns=list("abc"))
    fitted = xgboost.XGBClassifier(n_estimators=5).fit(table, (table.a + table.b > 0).astype(int))
    schema: Any = ParamSchema([ParamSpec("output_margin", "boolean", declared)])
    signature = ModelSignature(Schema([ColSpec("double", name) for name in "abc"]), params=schema)
    kept = fitted.get_booster() if booster else fitted
    cast("Flavor", mlflow_xgboost).save_model(kept, str(tmp_path / "m"), signature=signature, pip_requirements=[])
    body = split(list("abc"), [0.1, 0.2, 0.3], [-1.0, -1.0, 0.0]) | params
    right, said = both(tmp_path / "m", body)
    assert said == right


def test_columns_may_be_called_by_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 4)))
    fitted = lines.LinearRegression().fit(table[[0, 1]].to_numpy(), table[3])
    save(tmp_path / "model", fitted, cast("Any", {0: "double", 1: "double"}))
    right, said = both(tmp_path / "model", {"dataframe_split": {"columns": [0, 1], "data": [[0.1, 0.2]]}})
    assert said == right
    signature = model.load(tmp_path / "model", "a model").signature
    assert signature
    assert signature.names == ["0", "1"]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a\tb", "\u00fc \U0001f600"])
def test_a_column_may_have_any_name(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({name: [1.0, 2.0, 4.0], "b": [2.0, 1.0, 0.0]})
    save(tmp_path / "model", lines.LinearRegression().fit(table, [1, 2, 3]), {name: "double", "b": "double"})
    for body in (split([name, "b"], [0.1, 0.2]), {"dataframe_records": [{name: 0.1, "b": 0.2}]}):
        right, said = both(tmp_path / "model", body)
        assert said == right


@pytest.mark.parametrize(
    "ranges", [5, "text", ["a"], {"a": 5}, {"a": [1]}, {"a": ["x", "y"]}, {"a": {"min": 1, "max": 2}}, {"a": None}]
)
def test_foreign_ranges_in_another_shape_are_not_ours(ranges: object) -> None:
    assert model.ranges_of({"metadata": {"feature_ranges": ranges}}) == {}
    assert model.ranges_of({"metadata": ranges}) == {}


def test_the_ranges_of_other_features_are_kept() -> None:
    assert model.ranges_of({"metadata": {"feature_ranges": {"a": None, "b": [0, 2.5]}}}) == {"b": (0.0, 2.5)}


def test_a_predictor_that_answers_no_row_does_not_count_as_equal() -> None:
    def unsure(rows: Sequence[Row], sizes: Sizes) -> list[list[Any]]:
        raise UnsureError(f"an unknown category in {len(rows)} rows of {len(sizes)} requests")

    def same(rows: Sequence[Row], sizes: Sizes) -> list[list[Any]]:
        return [[rows[0][0] * 0] * size for size in sizes]

    rows = [(float(place),) for place in range(40)]
    assert not probes.agree([(unsure, unsure)], rows)
    assert not probes.agree([(same, same)], rows)
