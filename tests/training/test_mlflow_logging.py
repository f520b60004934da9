"""A saved model, as the model server reads it."""

from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pandas as pd

from model_server.predict import model
from training.mlflow_logging import save_model
from training.project import Classifier, Parameters, Project, Rows, Target, categories

encoders, lines, pipelines = (
    cast("Any", import_module(f"sklearn.{part}")) for part in ("preprocessing", "linear_model", "pipeline")
)


def never(_rows: Rows, _parameters: Parameters) -> Classifier:
    raise AssertionError


def test_the_server_of_a_model_knows_what_training_made_of_truth_values(tmp_path: Path) -> None:
    columns = [*categories("paid", known=("false", "true")), *categories("town")]
    target = Target(name="churn", labels=("No", "Yes"))
    project = Project(model="m", columns=columns, target=target, parameters=Parameters, fit=never)
    rows = pd.DataFrame({"paid": ["true", "false"], "town": ["a", "b"]}, dtype=object)
    made = pipelines.make_pipeline(encoders.OneHotEncoder(), lines.LogisticRegression())
    fitted = made.fit(rows, ["No", "Yes"])
    save_model(project, fitted, tmp_path / "m", example=rows, profile=None, ranges={})
    signature = model.load(tmp_path / "m", "m version 1").signature
    assert signature
    assert {column.name: column.truth_values for column in signature.columns} == {"paid": ["false", "true"], "town": ()}
