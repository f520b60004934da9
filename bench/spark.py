"""Applies one version to a table with Spark and with a batch, and compares the predictions and the times.

Spark has one thread, as the batch has. Both read the same Parquet files and write Parquet files; both times contain the
start of the programs. Spark needs Java 17, and it is no dependency of the repository:

    uv pip install --no-deps --target FOLDER pyspark==4.0.1 py4j==0.10.9.9
    PYTHONPATH=FOLDER python -m bench.spark

`--rows N` measures other sizes. The exit code is 1 if a prediction differs.
"""

import argparse
import importlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from bench.batch import variables
from tests.model_server import s3
from tests.model_server.zoo import COLUMNS, ensembles, save_sklearn, table

PARTITIONS = 4


def main() -> int:
    """Run both, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description="A batch beside Spark with MLflow's spark_udf.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--of-spark", nargs=3, type=Path, metavar=("MODEL", "INPUT", "OUTPUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of_spark:
        _spark(*given.of_spark)
        return 0
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        place, rows, made = folder / "forest" / "1", folder / "rows", folder / "made"
        save_sklearn(place, ensembles.RandomForestClassifier(100, max_depth=10, random_state=1))
        rows.mkdir()
        whole = table(given.rows)[0].assign(id=range(given.rows))
        size = -(-given.rows // PARTITIONS)
        for start in range(0, given.rows, size):
            whole.iloc[start : start + size].to_parquet(rows / f"{start:09}.parquet", index=False)
        ours, batch = _batch(place, rows)
        words = ["--of-spark", *map(str, (place, rows, made))]
        theirs = _timed([sys.executable, "-m", "bench.spark", *words], {})
        spark = _by_id(pd.read_parquet(made))
    different = int((batch != spark).sum())
    print("| rows | batch, s | Spark, s | different predictions |")
    print("| ---: | ---: | ---: | ---: |")
    print(f"| {given.rows:,} | {ours:.1f} | {theirs:.1f} | {different} |")
    return 1 if different or len(spark) != given.rows else 0


def _batch(place: Path, rows: Path) -> tuple[float, "pd.Series[Any]"]:
    """Return the time and the predictions of the platform's batch."""
    with s3.bucket() as store:
        for file in rows.iterdir():
            store.objects[f"batch/in/{file.name}"] = file.read_bytes()
        took = _timed([sys.executable, "-m", "model_server.batch"], {**store.environment, **variables(place)})
        parts = [body for key, body in store.objects.items() if key.startswith("batch/out/")]
    return took, _by_id(pd.concat(pd.read_parquet(io.BytesIO(body)) for body in parts))


def _by_id(predicted: pd.DataFrame) -> "pd.Series[Any]":
    return predicted.set_index("id").prediction.astype(str).sort_index()


def _spark(model: Path, rows: Path, made: Path) -> None:
    """Predict every row in a session of Spark, as docs/batch.md shows it."""
    sql: Any = importlib.import_module("pyspark.sql")
    functions: Any = importlib.import_module("pyspark.sql.functions")
    session = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    pyfunc: Any = importlib.import_module("mlflow.pyfunc")
    predict = pyfunc.spark_udf(session, str(model), result_type="long", env_manager="local")
    given = session.read.parquet(str(rows))
    given.withColumn("prediction", predict(functions.struct(*COLUMNS))).write.parquet(str(made))
    session.stop()


def _timed(command: list[str], environment: dict[str, str]) -> float:
    """Run a command and return its wall time in seconds."""
    start = time.perf_counter()
    own = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run(command, env={**os.environ, **own, **environment}, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
