"""Parts of the platform are killed at random under load, with two releases in between; each lost request has a cause.

`pytest tests/e2e/test_chaos.py --all --keep-lab --chaos-minutes 5 --chaos-seed 1` repeats a run.
"""

import io
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest

from contract import names
from lab.cluster import node, process
from tests.e2e.conftest import OURS, Platform, answering, store_client, wait_for
from tests.e2e.load import Answered, Answers, load
from tests.e2e.models import register

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
NAME, KEY, PER_SECOND = "chaos", "X-Customer-Id", 30
SOURCE = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [0] * len(model_input)
"""
ROWS = {"dataframe_records": [{"number": 1}]}
CONTAINERS = {
    "server": (names.SERVING, "model-endpoint", "server"),
    "challenger": (names.SERVING, "model-challenger", "server"),
    "router": (names.SERVING, names.ROUTERS, "envoy"),
    "mlflow": (names.PLATFORM, "mlflow", "mlflow"),
    "postgres": (names.PLATFORM, "postgres", "postgres"),
    "s3": (names.PLATFORM, "s3", "s3"),
}
"""Containers whose process is killed: namespace, label of the pods and name."""
MACHINE = ("kubelet", "containerd", "etcd", "kube-apiserver")
CUTS = {"server": 20, "router": 60}
"""Largest number of requests that a killed container may cut: those in it, and those sent to it until kube-proxy or the
router has seen that it is gone. Every other blow must cut none."""
UNWRITTEN_SECONDS = 0.25
"""Seconds of records that a killed server may lose (docs/prediction-log.md)."""


@dataclass
class Blow:
    """Something that was done to the platform."""

    what: str
    begun: float = field(default_factory=time.monotonic)
    lost: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Chaos:
    """Endpoint with two servers, two routers and a challenger."""

    platform: Platform
    versions: list[str]

    def pods(self, namespace: str, kind: str) -> list[dict[str, Any]]:
        selector = names.matching({names.NAME: kind} | ({names.INSTANCE: NAME} if namespace == names.SERVING else {}))
        return self.platform.items("pods", "-n", namespace, "-l", selector)

    def kill(self, what: str, chance: random.Random) -> None:
        """Kill the first process of a container, as the kernel does when memory is short."""
        namespace, kind, container = CONTAINERS[what]
        pod = chance.choice(sorted(self.pods(namespace, kind), key=lambda pod: pod["metadata"]["name"]))
        statuses = [*pod["status"]["containerStatuses"], *pod["status"].get("initContainerStatuses", [])]
        (identity,) = (each["containerID"].rpartition("/")[2] for each in statuses if each["name"] == container)
        os.kill(first_process(identity), signal.SIGKILL)

    def evict(self, chance: random.Random, folder: Path) -> None:
        """Evict a pod of the endpoint, as a drain of its node does; its disruption budget may refuse at first."""
        kinds = ("model-endpoint", names.ROUTERS, "model-challenger")
        found = sorted(pod["metadata"]["name"] for kind in kinds for pod in self.pods(names.SERVING, kind))
        pod = chance.choice(found)
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": names.SERVING},
        }
        (folder / "eviction.json").write_text(json.dumps(eviction))
        path = f"/api/v1/namespaces/{names.SERVING}/pods/{pod}/eviction"
        words = ("kubectl", "create", "--raw", path, "-f", str(folder / "eviction.json"))
        wait_for("the eviction", lambda: self.platform.lab(*words, check=False).returncode == 0, seconds=60)

    def crash(self, what: str) -> None:
        """Kill a process of the cluster, and start it again as a machine does."""
        found = process.running(what)
        assert found, f"{what} does not run"
        os.kill(found.pid, signal.SIGKILL)
        wait_for(f"the end of {what}", lambda: not found.alive, seconds=10)
        self.platform.lab("up", "--cluster-only")

    def release(self, version: str) -> None:
        # The gate refuses the name of an experiment that ran with other versions.
        endpoint = f"endpoints.{NAME}"
        self.platform.set(
            {f"{endpoint}.version": version, f"{endpoint}.challenger.experiment": f"{NAME}-{uuid4().hex}"}
        )
        self.platform.up()

    def is_whole(self) -> bool:
        """Return whether all pods of the platform are ready, and none is leaving."""
        every = [pod for space in OURS for pod in self.platform.items("pods", "-n", space)]
        running = [pod for pod in every if pod["status"]["phase"] not in {"Succeeded", "Failed"}]
        return len(answering(self.platform, NAME)) >= 6 and all(map(is_ready, running))


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def first_process(container: str) -> int:
    """Return the process of a container that has the number 1 inside of it."""
    for pid in node.inhabitants():
        try:
            cgroup = Path(f"/proc/{pid}/cgroup").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
        if container in cgroup and inside == "1":
            return pid
    pytest.fail(f"container {container} has no process")


@pytest.fixture
def chaos(platform: Platform) -> Iterator[Chaos]:
    platform.lab("up", timeout=3000)
    versions = [register(NAME, SOURCE, {"number": [1]}) for _ in range(3)]
    endpoint: Mapping[str, str | int] = {
        "version": versions[0],
        "memory": "512Mi",
        "replicas.min": 2,
        "replicas.max": 2,
        "prediction_log.sample": 1,
        "challenger.version": versions[2],
        "challenger.percent": 10,
        "challenger.key": KEY,
        "challenger.experiment": NAME,
    }
    with platform.config_restored():
        platform.set({f"endpoints.{NAME}.{key}": value for key, value in endpoint.items()})
        platform.up()
        made = Chaos(platform, versions)
        wait_for("its pods", made.is_whole, seconds=180)
        yield made
    platform.up()


def test_what_is_killed_at_random_costs_no_request_but_those_that_it_had(
    chaos: Chaos, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options: Any = request.config.option
    minutes: float = options.chaos_minutes
    seed: int = options.chaos_seed or random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance, blows = random.Random(seed), list[Blow]()
    actions: dict[str, Callable[[], object]] = {
        **{what: lambda what=what: chaos.kill(what, chance) for what in CONTAINERS},
        **{what: lambda what=what: chaos.crash(what) for what in MACHINE},
        "eviction": lambda: chaos.evict(chance, tmp_path),
    }
    releases = [chaos.versions[0], chaos.versions[1]]
    seconds = int(60 * minutes)
    url = f"{chaos.platform.endpoint_url(NAME)}/invocations"
    with load(url, ROWS, per_second=PER_SECOND, key_header=KEY, seconds=3 * seconds + 600) as answers:
        begun, order = time.monotonic(), list[str]()
        wait_for("an answer", lambda: answers.latest, seconds=20)
        while (passed := time.monotonic() - begun) < seconds:
            if releases and passed > seconds * (3 - len(releases)) / 3:
                version = releases.pop()
                blows.append(Blow(f"release of version {version}"))
                chaos.release(version)
            else:
                order = order or chance.sample(sorted(actions), len(actions))
                what = order.pop()
                blows.append(Blow(what))
                actions[what]()
            wait_for("the whole platform", chaos.is_whole, seconds=300)
            wait_for_more(answers, chance.randrange(2 * PER_SECOND, 6 * PER_SECOND))
    explain(answers, blows)
    chaos.platform.kubectl("delete", "pod", "-n", names.SERVING, "-l", names.matching({names.INSTANCE: NAME}))
    logged(answers, blows, chaos.versions)


def wait_for_more(answers: Answers, number: int) -> None:
    """Wait for a number of further answers."""
    before = len(answers.all)
    wait_for("some calm", lambda: len(answers.all) > before + number, seconds=60)


def explain(answers: Answers, blows: list[Blow]) -> None:
    """Print what each blow cost, and fail if one cost more than it may."""
    unexplained = [answer for answer in answers.all if answer.failure and not cause(answer, blows)]
    for blow in blows:
        print(f"{blow.begun - blows[0].begun:6.0f} s {blow.what:20} {len(blow.lost)} lost {dict(Counter(blow.lost))}")
    print(f"{len(answers.all)} requests, {len(answers.failures)} lost")
    assert not unexplained
    assert not [blow for blow in blows if len(blow.lost) > CUTS.get(blow.what, 0)]


def cause(answer: Answered, blows: list[Blow]) -> bool:
    """Add a lost request to the last blow that began before it was lost."""
    before = [blow for blow in blows if blow.begun <= answer.due + answer.seconds]
    if before:
        before[-1].lost.append(answer.failure or "")
    return bool(before)


def logged(answers: Answers, blows: list[Blow], versions: list[str]) -> None:
    """Compare the prediction log with the answers: none twice, and none missing but those of killed servers."""
    client = store_client()
    records = Counter[tuple[str, str]]()
    for version in versions:
        place = {"Bucket": names.LOCAL_BUCKET, "Prefix": f"predictions/model={NAME}/version={version}/"}
        for page in client.get_paginator("list_objects_v2").paginate(**place):
            for entry in page.get("Contents", []):
                body = client.get_object(Bucket=names.LOCAL_BUCKET, Key=entry["Key"])["Body"].read()
                records.update((version, str(one)) for one in pd.read_parquet(io.BytesIO(body)).request_id)
    answered = len(answers.all) - len(answers.failures)
    killed = sum(blow.what in {"server", "challenger"} for blow in blows)
    print(f"{answered} answers, {len(records)} records, {killed} killed servers")
    assert max(records.values()) == 1
    assert answered - len(records) <= killed * PER_SECOND * UNWRITTEN_SECONDS
    assert len({name for _, name in records}) - answered <= len(answers.failures)
