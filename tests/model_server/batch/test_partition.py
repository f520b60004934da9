"""Predictions for Parquet files beside the responses of the real server to the same rows."""

from pathlib import Path
from typing import Any, cast

import httpx
import mlflow.sklearn as mlflow_sklearn
import pandas as pd
import pytest

from model_server.batch.partition import PartitionError, predict
from model_server.predict import model
from tests.model_server.pipelines import compose, encoders, ensembles, impute, pipelines
from tests.model_server.zoo import ECHOED, ZOO, Flavor, save_echo, signature, table
from tests.served import served

ROWS, CHUNK = 25, 10
COMPARED = ["a forest", "probabilities of a forest", "a pipeline that is not taken apart", "a line on a bare array"]


def predicted(folder: Path, given: pd.DataFrame) -> pd.DataFrame:
    source, result = folder.parent / "given.parquet", folder.parent / "made.parquet"
    given.to_parquet(source, index=False)
    assert predict(model.load(folder, "the model"), source, result, CHUNK) == len(given)
    return pd.read_parquet(result)


def responses(folder: Path, given: pd.DataFrame, size: int, *, named: bool = True) -> list[Any]:
    """Return the predictions of the server for the rows, in requests of this size."""
    found = list[Any]()
    with served(folder, "a-model", 1) as url:
        for start in range(0, len(given), size):
            part = given.iloc[start : start + size].astype(object)
            data = part.where(part.notna(), None).to_numpy().tolist()
            body = {"dataframe_split": {"columns": [*part.columns], "data": data}} if named else {"inputs": data}
            reply = httpx.post(f"{url}/invocations", json=body)
            assert reply.status_code == 200, reply.text
            found += reply.json()["predictions"]
    return found


@pytest.mark.parametrize("name", COMPARED)
def test_the_predictions_are_those_of_the_endpoint_bit_for_bit(name: str, tmp_path: Path) -> None:
    folder, given = ZOO[name](tmp_path / "model"), table(ROWS)[0]
    found = predicted(folder, given).prediction.tolist()
    expected = responses(folder, given, CHUNK, named="bare array" not in name)
    assert [list(one) if hasattr(one, "__len__") else one for one in found] == expected


def test_texts_and_missing_numbers_are_predicted_as_the_endpoint_predicts_them(tmp_path: Path) -> None:
    given = table(ROWS)[0][["a", "b"]].assign(c=["x", "y", "z", "y", "unknown"] * (ROWS // 5))
    labels = given.c.isin(["x", "z"]) & (given.b > 0)
    prepare = compose.ColumnTransformer(
        [
            ("numbers", impute.SimpleImputer(), ["b", "a"]),
            ("one", encoders.OneHotEncoder(handle_unknown="ignore"), ["c"]),
            ("place", encoders.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["c"]),
        ]
    )
    made = pipelines.make_pipeline(prepare, ensembles.RandomForestClassifier(10, random_state=1))
    made.fit(given[given.c != "unknown"], labels[given.c != "unknown"])
    folder = tmp_path / "model"
    cast("Flavor", mlflow_sklearn).save_model(
        made, str(folder), signature=signature({"a": "double", "b": "long", "c": "string"}),
        pyfunc_predict_fn="predict_proba", pip_requirements=[], serialization_format="cloudpickle",
    )  # fmt: skip
    given.loc[::7, "a"] = None
    assert len(model.load(folder, "the model").predictors) == 2, "the model has no fast predictor"
    found = predicted(folder, given).prediction
    assert [list(one) for one in found] == responses(folder, given, CHUNK)


@pytest.mark.filterwarnings("ignore")  # MLflow's about a model without an input example
def test_rows_that_only_mlflow_decodes_are_what_the_endpoint_makes_of_them(tmp_path: Path) -> None:
    folder = save_echo(tmp_path / "model", kinds={**ECHOED, "g": "datetime"})
    given = pd.DataFrame(
        {
            "a": [0.5, None], "b": [1, 2], "c": [0.25, 1.5], "d": [True, False], "e": ["x", "y"], "f": [3, 4],
            "g": pd.to_datetime(["2026-11-30T16:00:00", "2026-12-01T00:00:00"]),
        }
    )  # fmt: skip
    found = [list(one) for one in predicted(folder, given).prediction]
    as_json = given.assign(g=["2026-11-30T16:00:00", "2026-12-01T00:00:00"])
    assert found == responses(folder, as_json, CHUNK)


def test_columns_that_are_no_inputs_stay_beside_the_predictions(tmp_path: Path) -> None:
    folder, given = ZOO["a tree of three classes"](tmp_path / "three"), table(ROWS)[0]
    found = predicted(folder, given.assign(customer=[f"c{n}" for n in range(ROWS)]))
    assert found.columns.tolist() == ["customer", "prediction"]
    assert found.customer.tolist() == [f"c{n}" for n in range(ROWS)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"a": ["x", "y"]}, "has the type large_string in column a, and the model takes double"),
        ({"b": [0.5, 1.5]}, "has the type double in column b, and the model takes long"),
        ({"b": pd.array([1, None], dtype="Int64")}, "has rows 0 to 1 that the model refuses"),
        ({"prediction": [1, 2]}, "has a column prediction, which is the name of a result; rename it"),
        (None, "has no column a, which the model requires"),
    ],
)
def test_a_partition_that_does_not_fit_the_model_is_refused(
    change: dict[str, Any] | None, said: str, tmp_path: Path
) -> None:
    folder, given = ZOO["a forest"](tmp_path / "model"), table(2)[0]
    with pytest.raises(PartitionError) as refused:
        predicted(folder, given.drop(columns="a") if change is None else given.assign(**change))
    assert said in str(refused.value)


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    folder = ZOO["a forest"](tmp_path / "model")
    (tmp_path / "given.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(PartitionError, match="is not a Parquet file that can be read"):
        predict(model.load(folder, "the model"), tmp_path / "given.parquet", tmp_path / "made.parquet", CHUNK)
