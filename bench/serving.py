"""Measures requests per second of our model server and its peers, on one machine.

Each server has one core, and wrk, the load generator, another. Only one server runs at a time; the servers take turns.
The Markdown tables show medians over the repetitions, with the ratio to `mlflow models serve` (with uvloop and
httptools). The loop is closed: each connection sends its next request when it has its response.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "serving_peers"
CASES = [(1, 1), (1, 16), (100, 1), (100, 16)]  # rows, connections
PATIENCE = 180  # seconds to wait for a server
MODELS = ("logistic", "forest", "lightgbm", "xgboost", "pyfunc")
PEERLESS = {"lightgbm", "xgboost", "pyfunc"}  # the peers' environment has no LightGBM, XGBoost or MLflow
MAKE_MODELS = """
import sys
import mlflow
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

rng = np.random.default_rng(0)
table = pd.DataFrame(rng.normal(size=(4000, 4)), columns=list("abcd"))
label = ((table.a * table.b + table.c + rng.normal(size=4000) * 0.7) > 0).astype(int)
more = {"signature": infer_signature(table, label.to_numpy()), "input_example": table.head(2), "pip_requirements": []}


class Sum(PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input.sum(axis=1) > 0).astype(int).to_numpy()


for name, model in {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(200, max_depth=15, random_state=0, n_jobs=1),
    "lightgbm": LGBMClassifier(n_estimators=200, n_jobs=1, verbosity=-1, random_state=0),
}.items():
    mlflow.sklearn.save_model(
        model.fit(table, label), f"{sys.argv[1]}/{name}/1", serialization_format="cloudpickle", **more
    )
trees = XGBClassifier(n_estimators=200, n_jobs=1, random_state=0).fit(table, label)
mlflow.xgboost.save_model(trees, f"{sys.argv[1]}/xgboost/1", **more)
mlflow.pyfunc.save_model(f"{sys.argv[1]}/pyfunc/1", python_model=Sum(), **more)
"""
LUA = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %s
"""


class NoAnswerError(Exception):
    """A server did not start."""


@dataclass(frozen=True)
class Figures:
    """Results of one run of wrk."""

    rate: float
    """Requests per second."""
    p99: float
    """99th percentile of the latency in milliseconds."""
    cpu: float
    """CPU milliseconds of the server for each request. Other work on the machine hardly affects it."""


def commands(model: str, models: Path, port: int, python: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return command and environment of each server for the model, without the peers that cannot serve it."""
    folder = models / model / "1"
    here = Path(sys.executable).parent
    ours = {"MODEL": model, "MODEL_VERSION": "1", "MODEL_DIR": str(models), "HOST": "127.0.0.1", "PORT": str(port)}
    mlflow = [str(here / "mlflow"), "models", "serve", "-m", str(folder), "--env-manager", "local", "-p", str(port)]
    peer = {
        "BENCH_MODEL": str(folder),
        "PYTHONPATH": str(PEERS),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # Ray's many processes share one core
        "BENTOML_DO_NOT_TRACK": "1",
    }
    known: dict[str, tuple[list[str], dict[str, str]]] = {
        "mlflow": (mlflow, {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{here}:{os.environ['PATH']}"}),
        "ours": ([sys.executable, "-m", "model_server.server"], ours | {"PYTHONPATH": str(ROOT)}),
    }
    if model not in PEERLESS:
        bento = [str(python.parent / "bentoml"), "serve", "bentoml_service:Service", "--working-dir", str(PEERS)]
        known |= {
            "BentoML": ([*bento, "--host", "127.0.0.1", "--port", str(port)], peer),
            "LitServe": ([str(python), str(PEERS / "litserve_server.py"), str(port)], peer),
            "Ray Serve": ([str(python), str(PEERS / "ray_server.py"), str(port)], peer),
            "ONNX Runtime": ([str(python), str(PEERS / "onnx_server.py"), str(port)], peer),
        }
    return known


def make_models(folder: Path) -> None:
    """Create version 1 of each model in the folder."""
    made = subprocess.run([sys.executable, "-c", MAKE_MODELS, str(folder)], capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(made.stderr[-3000:])


@contextlib.contextmanager
def serving(
    command: Sequence[str], env: Mapping[str, str], url: str, log: Path, sent: str = ""
) -> Generator[tuple[float, int]]:
    """Run the server on core 0. Yield the seconds until its first 200, and its process group.

    `sent` is the body of the first request; empty for one row of the models that `make_models` makes.

    Raises:
        NoAnswerError: the server does not answer.
    """
    start = time.perf_counter()
    with log.open("w") as lines:
        pinned = ["taskset", "-c", "0", *command]
        process = subprocess.Popen(
            pinned, env=os.environ | env, stdout=lines, stderr=lines, cwd=log.parent, start_new_session=True
        )
        try:
            while not answers(url, sent):
                if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                    raise NoAnswerError(f"{' '.join(command)} does not answer:\n{log.read_text()[-3000:]}")
                time.sleep(0.02)
            yield time.perf_counter() - start, process.pid
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and all processes of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(url: str, sent: str = "") -> bool:
    """Return whether the server predicts the rows of a body, by default one row."""
    request = urllib.request.Request(url, (sent or body(1)).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return "predictions" in json.loads(response.read())
    except (urllib.error.URLError, OSError, ValueError):
        return False


def body(rows: int) -> str:
    """Return the body of a request with that many rows."""
    data = [[(row * 7 + column * 13) % 97 / 31 - 1.5 for column in range(4)] for row in range(rows)]
    return json.dumps({"dataframe_split": {"columns": list("abcd"), "data": data}})


@dataclass(frozen=True)
class Served:
    """Our server with one model."""

    port: int
    """Port of the server."""
    url: str
    """URL of its predictions."""
    group: int
    """Its process group."""
    folder: Path
    """Temporary folder with its log."""

    @property
    def log(self) -> Path:
        """Return the path of its log."""
        return self.folder / "server.log"


@contextlib.contextmanager
def our_server(model: str) -> Generator[Served]:
    """Run our server with the model on core 0, in a temporary folder, while the block runs."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        make_models(folder / "models")
        command, env = commands(model, folder / "models", port, Path())["ours"]
        url = f"http://127.0.0.1:{port}/invocations"
        with serving(command, env, url, folder / "server.log") as (_, group):
            yield Served(port, url, group, folder)


def load(url: str, group: int, case: tuple[int, int], seconds: int, scratch: Path, *, sent: str = "") -> Figures:
    """Run wrk once on core 1 with `case` rows and connections; `sent` replaces the body of these rows."""
    rows, connections = case
    script = scratch / "post.lua"
    script.write_text(LUA % json.dumps(sent or body(rows)))
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s", str(script), url]
    before = cpu_seconds(group)
    done = subprocess.run(["taskset", "-c", "1", "wrk", *options], capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"wrk reported errors at {url}:\n{done.stdout}")
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout), re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    count = re.search(r"(\d+) requests in", done.stdout)
    if not rate or not p99 or not count:
        sys.exit(f"the output of wrk has an unknown format:\n{done.stdout}")
    cpu = (cpu_seconds(group) - before) / max(int(count[1]), 1) * 1e3
    return Figures(float(rate[1]), float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]], cpu)


def processes(root: int) -> Iterator[list[str]]:
    """Yield the fields of this process and of all its descendants."""
    known: dict[int, list[str]] = {}
    for pid in (int(folder.name) for folder in Path("/proc").glob("[0-9]*")):
        with contextlib.suppress(OSError):
            known[pid] = process(pid)
    for pid, fields in known.items():
        above = pid
        while above in known and above != root:
            above = int(known[above][1])
        if above == root or int(fields[3]) == root:
            yield fields


def process(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def resident(root: int) -> float:
    """Return the MB in memory of the processes; pages that they share count for each."""
    return sum(map(megabytes, processes(root)))


def megabytes(fields: Sequence[str]) -> float:
    """Return the MB in memory of a process."""
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(root: int) -> float:
    """Return the CPU seconds of the processes so far, user and system."""
    return sum(map(cpu_used, processes(root)))


def cpu_used(fields: Sequence[str]) -> float:
    """Return the CPU seconds of a process so far, user and system."""
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    shown = [titles, ["---"] * len(titles), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)


def judge(limits: dict[str, bool]) -> bool:
    """Print which limits were kept. Return whether all were."""
    print()
    print(table(["limit", "kept"], [[limit, "yes" if kept else "NO"] for limit, kept in limits.items()]))
    return all(limits.values())


def main() -> None:
    """Print one table for each model; report what could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=2, help="seconds of each run of wrk (default: 2)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs for each median (default: 3)")
    parser.add_argument(
        "--minutes", type=float, default=18, help="minutes after which no repetition starts (default: 18)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="1 second, 1 repetition, and ONNX Runtime as the only peer"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--peers", nargs="*", help="servers beside mlflow and ours (default: all)")
    parser.add_argument(
        "--venv", type=Path, default=Path.home() / ".cache" / "mlops-bench", help="virtual environment of the peers"
    )
    options, begun = parser.parse_args(), time.perf_counter()
    if options.quick:
        options.seconds, options.repetitions, options.peers = 1, 1, ["ONNX Runtime"]
    if missing := [tool for tool in ("wrk", "taskset", "uv") if not shutil.which(tool)]:
        sys.exit(
            f"{', '.join(missing)} not found; run `apt-get install wrk util-linux`; `make .venv/.ready` installs uv"
        )
    if os.cpu_count() == 1:
        sys.exit("this machine has one core, but the server and the load need one each; use a larger machine")
    python = options.venv / "bin" / "python"
    if options.peers != []:
        if not python.exists():
            subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", str(options.venv)], check=True)
        lock = [str(PEERS / "requirements.lock")]
        subprocess.run(["uv", "pip", "sync", "--quiet", "--python", str(python), *lock], check=True)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        make_models(models)
        servers = [len(names_of(model, options)) for model in options.models]
        for model, so_far in zip(options.models, accumulate(servers), strict=True):
            until = begun + options.minutes * 60 * so_far / sum(servers)
            measure(model, models, python, options, until)
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


def names_of(model: str, options: argparse.Namespace) -> list[str]:
    """Return the names of the servers to measure with the model."""
    known = commands(model, Path(), 0, Path())
    return [n for n in known if n in {"mlflow", "ours"} or options.peers is None or n in options.peers]


def measure(model: str, models: Path, python: Path, options: argparse.Namespace, until: float) -> None:
    """Measure all servers with one model; leave out a peer that does not start."""
    rates: defaultdict[tuple[str, int, int], list[Figures]] = defaultdict(list)
    starts: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    names = names_of(model, options)
    for repetition in range(options.repetitions):
        if repetition and time.perf_counter() > until:
            print(f"{model}: {repetition} repetitions, because the time is over", file=sys.stderr)
            break
        for name in list(names):
            port = free_port()
            command, env = commands(model, models, port, python)[name]
            url = f"http://127.0.0.1:{port}/invocations"
            try:
                with serving(command, env, url, models.parent / "server.log") as (seconds, group):
                    load(url, group, (1, 16), 1, models.parent)
                    starts[name].append((seconds, resident(group)))
                    for case in CASES:
                        rates[name, *case].append(load(url, group, case, options.seconds, models.parent))
            except NoAnswerError as error:
                if name in {"mlflow", "ours"}:
                    sys.exit(str(error))
                print(error, file=sys.stderr)
                names.remove(name)
            print(f"{model}: {name} done", file=sys.stderr)
    show(model, names, rates, starts)


def show(
    model: str,
    names: Sequence[str],
    rates: Mapping[tuple[str, int, int], Sequence[Figures]],
    starts: Mapping[str, Sequence[tuple[float, float]]],
) -> None:
    """Print one line for each server."""
    lines: list[list[str]] = []
    for name in names:
        line = [name]
        for rows, connections in CASES:
            runs, base = rates[name, rows, connections], rates["mlflow", rows, connections]
            rate, p99, cpu = (statistics.median(getattr(run, kind) for run in runs) for kind in ("rate", "p99", "cpu"))
            ratio = rate / statistics.median(run.rate for run in base)
            line.append(f"{rate:,.0f} ({ratio:.1f}x), p99 {p99:.1f} ms, CPU {cpu:.2f} ms")
        seconds, memory = (statistics.median(column) for column in zip(*starts[name], strict=True))
        lines.append([*line, f"{seconds:.1f} s", f"{memory:.0f} MB"])
    cases = [f"{rows} row{'s' * (rows > 1)}, {connections} conn." for rows, connections in CASES]
    print(f"\n{model}, requests per second (ratio to mlflow):\n")
    print(table(["server", *cases, "first 200", "memory"], lines), flush=True)


if __name__ == "__main__":
    main()
