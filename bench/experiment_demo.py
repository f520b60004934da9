"""Runs an experiment on the real churn data: three trained versions, three model servers, and simulated customers.

    python -m bench.experiment_demo [FOLDER]

Half of the customers is the training data; the other half sends requests. The demo plays the router: it chooses the
arm by a hash of the customer's number, and mirrors a part of the requests to the shadow. The log goes to an S3 server
on this machine, as in a cluster, and `mlops compare` reads it there. A folder keeps models, log and outcomes: the
models are used again, and `mlops compare --log FOLDER/predictions` reads the log.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd
from mlflow import MlflowClient

from lab.dataset import churn_table
from tests.model_server.s3 import bucket

MODEL, EXPERIMENT = "churn-predictor", "trees-2026-12"
SALT = "salt of the demonstration"
KEY = "X-Customer-Id"
ROLES = {"champion": 1, "challenger": 2, "shadow": 3}
"""Version of each role."""
PARAMETERS = (
    {"n_estimators": 2, "max_depth": 2},
    {"n_estimators": 100, "max_depth": 10},
    {"n_estimators": 200, "max_depth": 12},
)
"""Parameters of versions 1, 2 and 3."""
PERCENT, MIRRORED = 50, 20
PATIENCE = 120  # seconds until a server responds
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request of a customer."""

    number: int
    """Row of the customer in the table."""
    key: str
    """Value of the key header; empty if there is none."""
    request_id: str


@dataclass(frozen=True)
class Demo:
    """Result of the traffic: where the log and the outcomes are."""

    environment: Mapping[str, str]
    """Variables with which a program reads the log."""
    log: str
    outcomes: Path
    tracking_uri: str


def visits(customers: Sequence[int], seed: int = 1) -> list[Visit]:
    """Return requests in random order: each customer comes 1 to 3 times. One client changes its key each time."""
    dice = random.Random(seed)
    made = [
        Visit(number=number, key=f"customer-{number}", request_id=f"{number}-{visit}")
        for number in customers
        for visit in range(dice.randint(1, 3))
    ]
    made += [Visit(number=customers[0], key="", request_id=f"no-key-{place}") for place in range(30)]
    made += [Visit(number=customers[1], key=f"session-{place}", request_id=f"odd-{place}") for place in range(120)]
    dice.shuffle(made)
    return made


def write_outcomes(file: Path, table: pd.DataFrame, asked: Sequence[Visit]) -> None:
    """Write what happened to the customers of these requests, as `mlops compare --outcomes` reads it."""
    made = [(one.request_id, 0, table.churn[one.number]) for one in asked]
    pd.DataFrame(made, columns=["request_id", "row", "label"]).to_csv(file, index=False)


def bodies(table: pd.DataFrame) -> Mapping[int, str]:
    """Return the request body for each customer of the table, by its row."""
    rows = table.drop(columns="churn")
    return {
        number: f'{{"dataframe_split": {rows.loc[[number]].to_json(orient="split", index=False)}}}'
        for number in rows.index
    }


@contextmanager
def run(folder: Path, customers: int) -> Generator[Demo]:
    """Train, serve and send the requests of this many customers. The log can be read while the block runs."""
    table = churn_table()
    train, rest = table.iloc[::2], table.iloc[1::2].head(customers)
    train.to_csv(folder / "train.csv", index=False)
    models = folder / "models"
    if not models.exists():
        _train(folder, models)
    with bucket() as store:
        with ExitStack() as servers:
            ports = {role: servers.enter_context(_server(folder, models, role, store.environment)) for role in ROLES}
            _send(rest, visits(list(rest.index)), ports)
        outcomes = folder / "outcomes.csv"
        write_outcomes(outcomes, rest, visits(list(rest.index)))
        for key, body in store.objects.items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(body)
        yield Demo(store.environment, "s3://bucket/predictions", outcomes, f"sqlite:///{folder}/mlflow.db")


def _train(folder: Path, models: Path) -> None:
    """Train the versions, and make a MODEL_DIR with their files."""
    environment = {
        "DATASET": str(folder / "train.csv"),
        "PROJECT": "churn",
        "MODEL": MODEL,
        "WORK_FOLDER": str(folder / "work"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "TRAINING_JOB": "churn",
        "GIT_COMMIT": "3f2a9c1",
        "PYTHONPATH": str(ROOT),
    }
    for parameters in PARAMETERS:
        more = environment | {"PARAMETERS": json.dumps(parameters)}
        command = [sys.executable, "-m", "training.train"]
        subprocess.run(command, cwd=folder, env=os.environ | more, check=True, stdout=subprocess.DEVNULL)
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    for version in ROLES.values():
        files = client.get_model_version_download_uri(MODEL, str(version))
        shutil.copytree(files.removeprefix("file://"), models / MODEL / str(version))


@contextmanager
def _server(folder: Path, models: Path, role: str, store: Mapping[str, str]) -> Generator[int]:
    """Run the server of a role and its container `ship`, and yield the server's port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    spool = folder / f"spool-{role}"
    spool.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        **store,
        "PYTHONPATH": str(ROOT),
        "MODEL": MODEL,
        "MODEL_VERSION": str(ROLES[role]),
        "MODEL_DIR": str(models),
        "MODEL_ROLE": role,
        "UNIT_HEADER": KEY,
        "UNIT_SALT": SALT,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "THREADS": "1",
        "POD_NAME": f"{MODEL}-{role}",
        "PREDICTION_LOG_DIR": str(spool),
        "TERMINATION_LOG": str(folder / "why"),
    }
    with (folder / f"{role}.log").open("w") as lines:
        command = [sys.executable, "-m"]
        started = [
            subprocess.Popen([*command, module], cwd=folder, env=environment, stdout=lines, stderr=lines)
            for module in ("model_server.server", "model_server.prediction_log.ship")
        ]
        try:
            _wait(port)
            yield port
        finally:
            for process in started:  # the server first, as the kubelet does
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE)


def _wait(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/ping").raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _send(table: pd.DataFrame, todo: Sequence[Visit], ports: Mapping[str, int]) -> None:
    made = bodies(table)
    with httpx.Client() as http, ThreadPoolExecutor(4) as pool:

        def send(visit: Visit) -> None:
            headers = {"content-type": "application/json", "x-request-id": visit.request_id}
            if visit.key:
                headers |= {KEY: visit.key, "x-mlops-experiment": EXPERIMENT}
            chosen = [arm(visit.key)]
            if bucket_of(f"mirror:{visit.request_id}") < MIRRORED * 100:
                chosen.append("shadow")
            for role in chosen:
                url = f"http://127.0.0.1:{ports[role]}/invocations"
                http.post(url, content=made[visit.number], headers=headers).raise_for_status()

        list(pool.map(send, todo))


def bucket_of(text: str) -> int:
    """Return a number from 0 to 9,999 that only the text decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 10_000


def arm(key: str) -> str:
    """Return the role that answers requests with this key."""
    return "challenger" if key and bucket_of(f"{EXPERIMENT}:{key}") < PERCENT * 100 else "champion"


def main() -> None:
    """Run the experiment and print the comparison."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[1]) if sys.argv[1:] else Path(name)
        with run(folder, 3500) as demo:
            command = ["mlops", "compare", MODEL, "--log", demo.log, "--percent", str(PERCENT)]
            command += ["--outcomes", str(demo.outcomes), "--by", "contract"]
            print(f"$ {' '.join(command)}", file=sys.stderr)
            done = subprocess.run(command, env=os.environ | demo.environment, check=False)
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
