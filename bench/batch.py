"""Measures a batch beside `mlflow models predict`: 1 million rows, the same model, one process after the other.

The batch reads Parquet partitions from an S3 server in memory and writes its results there; `mlflow models predict`
reads and writes JSON, its default. Both times contain the start of Python and the loading of the model. CPU
time counts beside wall time, because other programs on the machine change it less. Run it as
`python -m bench.batch`; `--rows N` measures other sizes. The exit code is 1 if the predictions differ.
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
from pathlib import Path

import pandas as pd

from tests.model_server import s3
from tests.model_server.zoo import ensembles, pipelines, save_sklearn, scalers, table

ROOT = Path(__file__).parent.parent
PARTITIONS = 20
Seconds = tuple[float, float]
"""Wall time and CPU time."""


def main() -> int:
    """Run both on each model, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description="A batch beside `mlflow models predict`.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    forest = ensembles.RandomForestClassifier(100, max_depth=10, random_state=1)
    models = {"forest": forest, "scaled forest": pipelines.make_pipeline(scalers.MinMaxScaler(), forest)}
    equal = True
    print("| model | rows | batch: s, CPU s | `mlflow models predict`: s, CPU s | ratio: s, CPU | predictions |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name, estimator in models.items():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / name.replace(" ", "-") / "1"
            save_sklearn(place, estimator)
            given = table(rows)[0]
            ours, found = _batch(place, given)
            theirs, expected = _mlflow(place, given)
        said = "equal" if found == expected else "differ"
        equal = equal and said == "equal"
        ratio = theirs[0] / ours[0], theirs[1] / ours[1]
        shown = (f"{one[0]:.1f}, {one[1]:.1f}" for one in (ours, theirs, ratio))
        print(f"| {name} | {rows:,} | {' | '.join(shown)} | {said} |", flush=True)
    return 0 if equal else 1


def _batch(place: Path, given: pd.DataFrame) -> tuple[Seconds, list[object]]:
    with s3.bucket() as store:
        size = -(-len(given) // PARTITIONS)
        for start in range(0, len(given), size):
            content = io.BytesIO()
            given.iloc[start : start + size].to_parquet(content, index=False)
            store.objects[f"batch/in/{start:09}.parquet"] = content.getvalue()
        values = {
            "MODEL": place.parent.name,
            "MODEL_VERSION": "1",
            "MODEL_DIR": str(place.parent.parent),
            "BATCH_INPUT": "s3://bucket/batch/in/*.parquet",
            "BATCH_OUTPUT": "s3://bucket/batch/out",
            "THREADS": "1",
        }
        took = _timed([sys.executable, "-m", "model_server.batch"], {**store.environment, **values})
        parts = [body for key, body in sorted(store.objects.items()) if key.startswith("batch/out/")]
    return took, [one for body in parts for one in pd.read_parquet(io.BytesIO(body)).prediction.tolist()]


def _mlflow(place: Path, given: pd.DataFrame) -> tuple[Seconds, list[object]]:
    body, result = place.parent / "given.json", place.parent / "made.json"
    split = {"columns": [*given.columns], "data": given.astype(object).to_numpy().tolist()}
    body.write_text(json.dumps({"dataframe_split": split}))
    words = ["mlflow", "models", "predict", "-m", str(place), "-i", str(body), "-o", str(result)]
    took = _timed([sys.executable, "-m", *words, "--env-manager", "local"], {})
    return took, json.loads(result.read_text())["predictions"]


def _timed(command: list[str], environment: dict[str, str]) -> Seconds:
    """Run a command, and return its wall time and its CPU time."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


if __name__ == "__main__":
    sys.exit(main())
