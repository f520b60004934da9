"""The lab as a user has it: all goes through `lab`, the real engine and the real API server; nothing is mocked."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import boto3
import httpx
import pytest
from botocore.config import Config

from lab import stores
from lab.cluster import forward

ROOT = Path(__file__).parent.parent.parent
LAB = Path(sys.executable).parent / "lab"
ENDPOINT = "churn-predictor"
# Elsewhere engine and kubectl run on another machine than pods and their clients. Here their session comes last.
GIVING_WAY = """
import os, sys
os.setsid()
if os.path.exists("/proc/self/autogroup"):
    open("/proc/self/autogroup", "w").write("19")
os.execv(sys.argv[1], sys.argv[1:])
"""
ELSEWHERE = frozenset({"kubectl", "pulumi"})
OURS = ("mlops-platform", "ml-training", "ml-serving")

Answer = TypeVar("Answer")


def wait_for(what: str, condition: Callable[[], Answer | None], *, seconds: float, pause: float = 0.25) -> Answer:
    """The first truthy answer of `condition`; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(pause)
    pytest.fail(f"waited {seconds:.0f} s in vain for {what}")


def store_client() -> Any:
    """A client of the lab's artifact store with the keys that the lab gives its user."""
    keys = stores.environment()
    return cast("Any", boto3).client(
        "s3",
        endpoint_url=keys["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name=stores.REGION,
        config=Config(s3={"addressing_style": "path"}),
    )


@dataclass(frozen=True)
class Platform:
    """The stack `local` on the lab's cluster, used through the lab's commands."""

    root: Path = ROOT

    def lab(
        self, *arguments: str, timeout: float = 600, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `lab`, with more `environment`; with `check`, a failure shows what it printed."""
        giving_way = [sys.executable, "-c", GIVING_WAY] if arguments[0] in ELSEWHERE else []
        done = subprocess.run(
            [*giving_way, LAB, *arguments],
            cwd=self.root,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"lab {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def pulumi(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.lab("pulumi", *arguments, "--stack", "local", "--non-interactive", check=check)

    def up(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.pulumi("up", "--yes", "--skip-preview", check=check)

    def set(self, values: Mapping[str, str | int]) -> None:
        """Values of the stack file by path below `mlops:`, in one run of the engine."""
        self.pulumi("config", "set-all", "--path", *(f"--plaintext=mlops:{path}={v}" for path, v in values.items()))

    def add_training(self, name: str, **more: str | int) -> None:
        """A training run of a model of its own on the churn table, with other or more settings."""
        settings: dict[str, str | int] = {
            "project": "churn",
            "model": f"churn-{name}",
            "dataset": "s3://mlops-artifacts/datasets/churn.csv",
            "node_pool": "cpu",
            "deadline_minutes": 5,
            **more,
        }
        self.set({f"training.{name}.{key}": value for key, value in settings.items()})

    def changes(self, *arguments: str) -> dict[str, str]:
        """Operations of a preview by resource name and type, without unchanged resources."""
        plan = json.loads(self.pulumi("preview", "--json", *arguments).stdout)
        return {
            step["urn"].split("::", 2)[2]: step["op"]
            for step in plan["steps"]
            if step["op"] not in {"same", "read", "refresh"}
        }

    @contextmanager
    def config_restored(self) -> Generator[None]:
        """Whatever is done to the stack file inside is undone after it."""
        file = self.root / "Pulumi.local.yaml"
        before = file.read_text()
        try:
            yield
        finally:
            file.write_text(before)

    def kubectl(self, *arguments: str) -> str:
        return self.lab("kubectl", *arguments).stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        return self.get(*arguments)["items"]

    @contextmanager
    def watched(self, file: Path, field: str, *arguments: str) -> Generator[Callable[[], list[str]]]:
        """Calls `kubectl get --watch` while the block runs; the function gives each value that the field had so far."""
        command = [LAB, "kubectl", "get", *arguments, "--watch", f"--output=jsonpath={{{field}}}{{'\\n'}}"]
        with file.open("w") as output, subprocess.Popen(command, cwd=self.root, stdout=output) as watch:
            try:
                wait_for("the first value", lambda: file.read_text().split(), seconds=20)
                yield lambda: file.read_text().split()
            finally:
                watch.terminate()

    def endpoint_url(self, name: str = ENDPOINT) -> str:
        """The Service's own address: the lab routes it, so nothing but kube-proxy stands between test and pods."""
        spec = self.get("service", name, "-n", "ml-serving")["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def predict(self, customers: Sequence[Mapping[str, object]], name: str = ENDPOINT) -> httpx.Response:
        return httpx.post(
            f"{self.endpoint_url(name)}/invocations", json={"dataframe_records": list(customers)}, timeout=30
        )

    def tracking(self, path: str, **parameters: str) -> dict[str, Any]:
        """A GET of MLflow's REST API."""
        answer = httpx.get(f"{forward.urls()['mlflow']}/api/2.0/mlflow/{path}", params=parameters, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def versions(self, model: str = ENDPOINT) -> dict[int, dict[str, Any]]:
        found = self.tracking("model-versions/search", filter=f"name='{model}'").get("model_versions", [])
        return {int(version["version"]): version for version in found}


def training_jobs(platform: Platform, name: str) -> list[dict[str, Any]]:
    return platform.items("jobs", "-n", "ml-training", "-l", f"app.kubernetes.io/instance={name}")


def parameters_of(platform: Platform, version: dict[str, Any]) -> dict[str, str]:
    run = platform.tracking("runs/get", run_id=version["run_id"])["run"]
    return {parameter["key"]: parameter["value"] for parameter in run["data"]["params"]}


def pods(platform: Platform, namespace: str, name: str) -> list[dict[str, Any]]:
    return platform.items("pods", "-n", namespace, "-l", f"app.kubernetes.io/instance={name}")


def answering(platform: Platform, name: str = ENDPOINT) -> set[str]:
    """The pods of the endpoint that are ready and stay."""

    def is_ready(pod: Mapping[str, Any]) -> bool:
        conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]

    return {pod["metadata"]["name"] for pod in pods(platform, "ml-serving", name) if is_ready(pod)}


def end_in(platform: Platform, pod: str) -> dict[str, Any] | None:
    """Termination message of the pod's former server."""
    status = platform.get("pod", pod, "-n", "ml-serving")["status"]
    return status["containerStatuses"][0]["lastState"].get("terminated")


def server_in(pod: str) -> int:
    """The process of this machine that serves in the pod."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_server = b"model_server.server" in (process / "cmdline").read_bytes()
            if is_server and f"HOSTNAME={pod}".encode() in (process / "environ").read_bytes().split(b"\0"):
                return int(process.name)
    pytest.fail(f"no process of {pod} serves")


def fresh_shell() -> dict[str, str]:
    """The environment of a shell in which nothing names a cluster or an MLflow: `mlops` talks to the lab."""
    return {name: value for name, value in os.environ.items() if name not in {"KUBECONFIG", "MLFLOW_TRACKING_URI"}}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-minutes", type=float, default=10, help="minutes for which parts of the lab are killed")
    parser.addoption("--chaos-seed", type=int, help="seed of the order in which they are; default: a new one")
    parser.addoption("--token-minutes", type=float, default=60, help="minutes for which a client's tokens are replaced")
    parser.addoption("--keep-lab", action="store_true", help="start from the lab's platform as it is, not from nothing")


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest) -> Platform:
    """A platform that `lab up` made out of nothing: version 1 is trained, registered and served."""
    made = Platform()
    if not request.config.getoption("--keep-lab"):
        made.lab("down", "--wipe")
        (made.root / "Pulumi.local.yaml").unlink(missing_ok=True)
        made.lab("up", timeout=3000)
    return made
