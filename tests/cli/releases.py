"""An endpoint on this machine for `mlops release --steps`: real model servers behind a real Envoy, and a load.

`pulumi` and `kubectl` on PATH stand for the cluster: `pulumi up` starts the router with the share in the stack file,
and `kubectl` knows the addresses of router and servers.
"""

import json
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import mlflow.pyfunc
import pytest
import yaml

from bench.router_processes import KEY, MIB, Running, request, router, send
from components.router.configuration import Address, Challenger, Router
from tests.model_server.zoo import Flavor, save_sklearn, signature, trees
from tests.served import served

NAME, OLD, NEW = "risk", 1, 2
STACK = f"""\
config:
  mlops:endpoints:
    {NAME}:
      version: {OLD} # ours
      prediction_log: {{}}
"""
ROW = {"a": 0.1, "b": 1, "c": 0.2, "d": 3}
FRAIL = """
import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel


class Frail(PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        raise ValueError("the model is broken")


mlflow.models.set_model(Frail())
"""
KUBECTL = """#!{python}
import json, pathlib, signal, sys
pods = json.loads(pathlib.Path({pods!r}).read_text())
if "get" in sys.argv:
    items = [{{"metadata": {{"name": name}}, "status": {{"phase": "Running"}}}} for name in pods]
    wanted = sys.argv[sys.argv.index("--selector") + 1]
    items = [each for each in items if each["metadata"]["name"].split(".")[0] in wanted]
    print(json.dumps({{"items": items}}))
else:
    name = next(word for word in sys.argv if word.startswith("pod/"))[4:]
    print(f"Forwarding from 127.0.0.1:{{pods[name]}} -> 8081", flush=True)
    signal.pause()
"""
PULUMI = """#!{python}
import sys, urllib.request
sys.exit(int(urllib.request.urlopen({url!r}, timeout=60).read()))
"""


def save_frail(folder: Path) -> Path:
    """Save a model that fails on each request."""
    code = folder.parent / "frail.py"
    code.write_text(FRAIL)
    cast("Flavor", mlflow.pyfunc).save_model(
        str(folder), python_model=str(code), signature=signature(), pip_requirements=[]
    )
    return folder


@dataclass
class World:
    """Endpoint whose router has what the stack file had at the last `pulumi up`."""

    file: Path
    addresses: Mapping[str, Address]
    """Address of the servers, by role."""
    answers: Counter[tuple[int, str]] = field(default_factory=Counter[tuple[int, str]])
    """Number of responses, by status and version."""
    shares: list[int] = field(default_factory=list[int])
    """Share of the new version in percent after each update."""
    exit_codes: list[int] = field(default_factory=list[int])
    """Exit codes of the next updates; 0 after the last."""
    quiet: threading.Event = field(default_factory=threading.Event)
    """No requests are sent while it is set."""
    meanwhile: Callable[[], object] = lambda: None
    """Function that is called at the end of each update."""
    _routers: ExitStack = field(default_factory=ExitStack)
    _running: Running | None = None

    def share(self) -> int:
        """Share of the new version in the stack file, in percent."""
        entry = yaml.safe_load(self.file.read_text())["config"]["mlops:endpoints"][NAME]
        return 100 if entry["version"] == NEW else entry.get("challenger", {"percent": 0})["percent"]

    def up(self) -> int:
        """Do what the update of the stack does, and return the exit code."""
        if self.exit_codes and (code := self.exit_codes.pop(0)):
            return code
        self.shares.append(share := self.share())
        role = "challenger" if share == 100 else "champion"
        challenger = Challenger(
            address=self.addresses["challenger"], percent=share, key=KEY, experiment="trees", patience_seconds=2
        )
        settings = Router(
            champion=self.addresses[role],
            challenger=challenger if 0 < share < 100 else None,
            request_seconds=35,
            max_body_bytes=10 * MIB,
            memory_bytes=512 * MIB,
        )
        before, self._routers = self._routers, ExitStack()
        self._running = self._routers.enter_context(router(settings))
        before.close()
        pods = {f"model-{name}.1": address.port for name, address in self.addresses.items()}
        pods["model-endpoint.1"] = pods.pop("model-champion.1")
        pods["model-router.1"] = self._running.probe_port
        (self.file.parent / "pods.json").write_text(json.dumps(pods))
        self.meanwhile()
        return 0

    def load(self, stop: threading.Event) -> None:
        """Send requests of changing callers until the event is set."""
        headers = {"Content-Type": "application/json"}
        body, caller = json.dumps({"dataframe_records": [ROW]}).encode(), 0
        while not stop.wait(0.01):
            if self.quiet.is_set() or self._running is None:
                continue
            sent = [request(body, {**headers, KEY: f"{caller + n}"}) for n in range(20)]
            caller += 20
            with suppress(OSError):
                self.answers.update((status, version) for status, version, _ in send(self._running.port, sent, ahead=1))

    def close(self) -> None:
        """Stop the router."""
        self._routers.close()


@contextmanager
def world(folder: Path, new: Path, old: Path, patch: pytest.MonkeyPatch) -> Generator[World]:
    """Yield the endpoint with the models in two folders, under load, in a Pulumi project that is the working folder."""
    patch.chdir(folder)
    for name in ("KUBECONFIG", "MLFLOW_TRACKING_URI"):
        patch.delenv(name, raising=False)
    (folder / "Pulumi.yaml").write_text("name: mlops\nruntime: python\n")
    file = folder / "Pulumi.prod.yaml"
    file.write_text(STACK)
    with ExitStack() as stack:
        addresses: dict[str, Address] = {}
        for role, model, version in (("champion", old, OLD), ("challenger", new, NEW)):
            patch.setenv("MODEL_ROLE", role)
            port = int(stack.enter_context(served(model, NAME, version)).rpartition(":")[2])
            addresses[role] = Address(host="127.0.0.1", port=port, probe_port=port)
        patch.delenv("MODEL_ROLE")
        made = World(file, addresses)
        url = stack.enter_context(_asked(made))
        _program(folder / "pulumi", PULUMI.format(python=sys.executable, url=url))
        _program(folder / "kubectl", KUBECTL.format(python=sys.executable, pods=str(folder / "pods.json")))
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        stack.callback(made.close)
        made.up()
        stop = threading.Event()
        thread = threading.Thread(target=made.load, args=[stop])
        thread.start()
        try:
            yield made
        finally:
            stop.set()
            thread.join()


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@contextmanager
def _asked(made: World) -> Generator[str]:
    """Yield the URL at which `pulumi` asks for an update, and gets its exit code."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = str(made.up()).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def models(folder: Path) -> Iterator[Path]:
    """Yield a model that works and one that fails."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*An input example was not provided")
        yield save_sklearn(folder / "tree", trees.DecisionTreeClassifier(max_depth=3, random_state=1))
        yield save_frail(folder / "frail")
