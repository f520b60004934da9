"""Runs an experiment on the lab, from its first preview to the promotion, and draws what the commands print.

    python -m bench.two_versions [MINUTES]

It needs a lab that serves version 1 (`make up`). It deploys monitoring, trains the next version, declares it as the
challenger, sends requests of simulated customers for MINUTES (default: 10), draws `mlops top` and the endpoint's
dashboard, and compares and promotes the version. Pulumi.local.yaml stays changed. The pictures are in docs/pictures.
The customers are rows of the table that both versions were trained on, so the demo says nothing about the models'
quality.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from bench.experiment_demo import EXPERIMENT, KEY, MODEL, Visit, bodies, visits, write_outcomes
from lab.dataset import churn_table
from monitoring.boards import BOARDS, uid
from tests.e2e.conftest import Platform, wait_for

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
CUSTOMERS, SENDERS = 3500, 4
SHIPPED = 180  # seconds within which the prediction log has all requests


def run(*command: str, check: bool = True, columns: int = 100) -> str:
    """Run a command of this project and return what it prints in a terminal of this width."""
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(columns)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def draw(name: str, *command: str, columns: int = 100) -> None:
    """Write a picture of what a command prints."""
    title = "$ " + " ".join(Path(word).name for word in command)
    draws = [sys.executable, "docs/terminal_picture.py", title]
    done = subprocess.run(
        draws, cwd=ROOT, input=run(*command, columns=columns), capture_output=True, text=True, check=True
    )
    (PICTURES / f"{name}.svg").write_text(done.stdout)
    print(f"drawn: {title}", flush=True)


def send(url: str, made: Mapping[int, str], todo: Sequence[Visit], seconds: float) -> Mapping[str, int]:
    """Send the requests, evenly within this time, and return the number of answers of each version."""
    began = time.monotonic()

    def one(place: int) -> str:
        visit = todo[place]
        time.sleep(max(0.0, began + place * seconds / len(todo) - time.monotonic()))
        headers = {"content-type": "application/json", "x-request-id": visit.request_id}
        headers |= {KEY: visit.key} if visit.key else {}
        return http.post(url, content=made[visit.number], headers=headers).raise_for_status().headers["x-model-version"]

    with httpx.Client(timeout=30) as http, ThreadPoolExecutor(SENDERS) as pool:
        return Counter(pool.map(one, range(len(todo))))


def logged(*compare: str) -> int:
    """Return the number of requests of the experiment in the prediction log."""
    arms = json.loads(run(*compare, "--json", check=False) or "{}").get("arms", [])
    return sum(arm["requests"] for arm in arms)


def main() -> None:
    """Run the experiment."""
    seconds = 60 * float(sys.argv[1] if sys.argv[1:] else 10)
    lab, table = Platform(), churn_table().head(CUSTOMERS)
    made = bodies(table)
    run("lab", "up", "--with", "monitoring")
    run("mlops", "train", "churn", "N_ESTIMATORS=200", "MAX_DEPTH=8")
    version = str(max(lab.versions()))
    challenger = {"version": version, "percent": 50, "key": KEY, "experiment": EXPERIMENT}
    lab.set({f"endpoints.{MODEL}.challenger.{name}": value for name, value in challenger.items()})
    draw("experiment-preview", "mlops", "preview", "--stack", "local")
    lab.up()
    url = f"{lab.endpoint_url()}/invocations"
    some = [Visit(number=number, key=f"first-{number}", request_id=f"first-{number}") for number in range(50)]
    wait_for("answers of both versions", lambda: len(send(url, made, some, 5)) > 1, seconds=120)
    todo = visits(range(CUSTOMERS))
    answers = send(url, made, todo, seconds)
    draw("top", "mlops", "top", "--once", columns=120)
    with tempfile.TemporaryDirectory() as folder:
        print(run("mlops", "boards", folder, "--draw", MODEL, "--minutes", str(math.ceil(seconds / 60))))
        for board in BOARDS:
            shutil.copy(Path(folder) / f"{uid(board)}.svg", PICTURES / f"board-{board}.svg")
    print(f"{len(todo)} requests of {CUSTOMERS} customers in {seconds / 60:.0f} minutes; answers: {dict(answers)}")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes.csv"
        write_outcomes(outcomes, table, todo)
        compare = ("mlops", "compare", MODEL, "--stack", "local", "--outcomes", str(outcomes))
        sent = sum(bool(one.key) for one in todo)
        wait_for("all requests in the log", lambda: logged(*compare) >= sent, seconds=SHIPPED)
        draw("experiment-compare", *compare)
    draw("experiment-promotion", "mlops", "release", MODEL, version, "--stack", "local")
    lab.up()
    wait_for("the promoted version alone", lambda: set(send(url, made, some, 5)) == {version}, seconds=120)


if __name__ == "__main__":
    main()
