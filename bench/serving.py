"""Requests per second of our model server against its peers, in one run on one machine.

Each server gets one core and wrk, the load generator, another. A server is alone while it is measured; peers take
turns, and what is printed are medians over the repetitions, with the ratio to `mlflow models serve` (uvloop and
httptools are installed). Closed loop: each connection sends its next request when it has its answer. The tables are
Markdown.
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
PATIENCE = 180  # seconds until a server answers
MODELS = ("logistic", "forest", "lightgbm", "xgboost", "pyfunc")
PEERLESS = {"lightgbm", "xgboost", "pyfunc"}  # the peers' environment has neither of the two, nor MLflow
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
    """A server did not come up."""


@dataclass(frozen=True)
class Figures:
    """One run of wrk: requests per second, milliseconds that 99 % of them stayed under, CPU milliseconds of each.

    The last is the server's own: what else runs on the machine hardly changes it.
    """

    rate: float
    p99: float
    cpu: float


def commands(model: str, models: Path, port: int, python: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """How each server is started for the model, and with what environment; a peer that cannot serve it is left out."""
    folder = models / model / "1"
    here = Path(sys.executable).parent
    ours = {"MODEL": model, "MODEL_VERSION": "1", "MODEL_DIR": str(models), "HOST": "127.0.0.1", "PORT": str(port)}
    mlflow = [str(here / "mlflow"), "models", "serve", "-m", str(folder), "--env-manager", "local", "-p", str(port)]
    peer = {
        "BENCH_MODEL": str(folder),
        "PYTHONPATH": str(PEERS),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # its many processes share a core
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
    """Version 1 of each of the models is in the folder."""
    made = subprocess.run([sys.executable, "-c", MAKE_MODELS, str(folder)], capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(made.stderr[-3000:])


@contextlib.contextmanager
def serving(command: Sequence[str], env: Mapping[str, str], url: str, log: Path) -> Generator[tuple[float, int]]:
    """The server on core 0, from its first 200 on. Gives the seconds until then, and its process group.

    Raises:
        NoAnswerError: there is no first 200.
    """
    start = time.perf_counter()
    with log.open("w") as lines:
        pinned = ["taskset", "-c", "0", *command]
        process = subprocess.Popen(
            pinned, env=os.environ | env, stdout=lines, stderr=lines, cwd=log.parent, start_new_session=True
        )
        try:
            while not answers(url):
                if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                    raise NoAnswerError(f"{' '.join(command)} does not answer:\n{log.read_text()[-3000:]}")
                time.sleep(0.02)
            yield time.perf_counter() - start, process.pid
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of its group is left, the children that it did not end included."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(url: str) -> bool:
    """Whether the server predicts one row."""
    request = urllib.request.Request(url, body(1).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as said:
            return "predictions" in json.loads(said.read())
    except (urllib.error.URLError, OSError, ValueError):
        return False


def body(rows: int) -> str:
    """A request of that many rows."""
    data = [[(row * 7 + column * 13) % 97 / 31 - 1.5 for column in range(4)] for row in range(rows)]
    return json.dumps({"dataframe_split": {"columns": list("abcd"), "data": data}})


@dataclass(frozen=True)
class Served:
    """Our server of one of the models: its port, where it predicts, its process group, and a folder with its log."""

    port: int
    url: str
    group: int
    folder: Path

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self.folder / "server.log"


@contextlib.contextmanager
def our_server(model: str) -> Generator[Served]:
    """Our server alone with the model, on core 0, from its first 200 on; the folder is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        make_models(folder / "models")
        command, env = commands(model, folder / "models", port, Path())["ours"]
        url = f"http://127.0.0.1:{port}/invocations"
        with serving(command, env, url, folder / "server.log") as (_, group):
            yield Served(port, url, group, folder)


def load(url: str, group: int, case: tuple[int, int], seconds: int, scratch: Path) -> Figures:
    """One run of wrk on core 1."""
    rows, connections = case
    script = scratch / "post.lua"
    script.write_text(LUA % json.dumps(body(rows)))
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s", str(script), url]
    before = cpu_seconds(group)
    done = subprocess.run(["taskset", "-c", "1", "wrk", *options], capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"wrk met errors at {url}:\n{done.stdout}")
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout), re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    count = re.search(r"(\d+) requests in", done.stdout)
    if not rate or not p99 or not count:
        sys.exit(f"wrk said something else:\n{done.stdout}")
    cpu = (cpu_seconds(group) - before) / max(int(count[1]), 1) * 1e3
    return Figures(float(rate[1]), float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]], cpu)


def processes(root: int) -> Iterator[list[str]]:
    """The fields of this process, and of all that came from it."""
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
    """The fields of /proc/PID/stat after the name."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def resident(root: int) -> float:
    """MB that the processes hold, shared pages counted in each."""
    return sum(map(megabytes, processes(root)))


def megabytes(fields: Sequence[str]) -> float:
    """MB that the process holds."""
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(root: int) -> float:
    """What the processes have used so far, user and system."""
    return sum(map(cpu_used, processes(root)))


def cpu_used(fields: Sequence[str]) -> float:
    """CPU seconds that the process has used so far, user and system."""
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    shown = [titles, ["---"] * len(titles), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)


def judge(limits: dict[str, bool]) -> bool:
    """Prints which limits were kept. Returns whether all were."""
    print()
    print(table(["limit", "kept"], [[limit, "yes" if kept else "NO"] for limit, kept in limits.items()]))
    return all(limits.values())


def main() -> None:
    """Prints a table for each model, and what could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=2, help="of each run of wrk (default: 2)")
    parser.add_argument("--repetitions", type=int, default=3, help="the median of so many (default: 3)")
    parser.add_argument("--minutes", type=float, default=18, help="after so long no repetition is begun (default: 18)")
    parser.add_argument("--quick", action="store_true", help="1 second, 1 repetition, of the peers ONNX Runtime alone")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--peers", nargs="*", help="besides mlflow and ours (default: all)")
    parser.add_argument("--venv", type=Path, default=Path.home() / ".cache" / "mlops-bench", help="of the peers")
    options, begun = parser.parse_args(), time.perf_counter()
    if options.quick:
        options.seconds, options.repetitions, options.peers = 1, 1, ["ONNX Runtime"]
    if missing := [tool for tool in ("wrk", "taskset", "uv") if not shutil.which(tool)]:
        sys.exit(
            f"{', '.join(missing)} not found; apt-get install wrk util-linux, and uv comes with `make .venv/.ready`"
        )
    if os.cpu_count() == 1:
        sys.exit("one core is not enough: the server and the load would share it")
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
    """The servers that are measured with the model."""
    known = commands(model, Path(), 0, Path())
    return [n for n in known if n in {"mlflow", "ours"} or options.peers is None or n in options.peers]


def measure(model: str, models: Path, python: Path, options: argparse.Namespace, until: float) -> None:
    """All servers with one model; a peer that does not come up is left out."""
    rates: defaultdict[tuple[str, int, int], list[Figures]] = defaultdict(list)
    starts: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    names = names_of(model, options)
    for repetition in range(options.repetitions):
        if repetition and time.perf_counter() > until:
            print(f"{model}: {repetition} repetitions, for time is up", file=sys.stderr)
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
    """A line for each server."""
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
