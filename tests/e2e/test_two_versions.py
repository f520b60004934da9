"""An endpoint with a challenger and a shadow: it starts, changes and ends while clients send requests all the time."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest

from bench.router_processes import request, send
from lab.cluster import layout
from tests.e2e.conftest import Platform, answering, end_in, server_in, wait_for
from tests.e2e.load import KEYS, Answers, load
from tests.e2e.models import register

pytestmark = pytest.mark.e2e

NAME, KEY = "split", "X-Customer-Id"
SOURCE = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [0] * len(model_input)
"""
# It takes more memory than its pod has when a row says so.
FRAGILE = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        kept = [b"x" * (32 << 20) for _ in range(100 if model_input.number.max() > 1 else 0)]
        return [len(kept)] * len(model_input)
"""
# It can be loaded everywhere but in a pod behind a router.
BROKEN = """
class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        import os
        if "MODEL_ROLE" in os.environ:
            raise RuntimeError("the weights are damaged")

    def predict(self, context, model_input, params=None):
        return [0] * len(model_input)
"""
ROWS = {"dataframe_records": [{"number": 1}]}
SERVING, INSTANCE, ROLES = ("-n", "ml-serving"), f"app.kubernetes.io/instance={NAME}", ("challenger", "shadow")
RATE, LEAST = 100, 5000
RETRIED = 'envoy_cluster_upstream_rq_retry{envoy_cluster_name="challenger-or-champion"}'
NOT_COPIED = 'envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="shadow"}'


@pytest.fixture
def split(platform: Platform) -> Iterator[tuple[Platform, list[str]]]:
    """The platform with an endpoint of its own, and three versions of its model; the first is served."""
    platform.lab("up", timeout=3000)
    versions = [register(NAME, SOURCE, {"number": [1]}) for _ in range(3)]
    with platform.config_restored():
        platform.set(
            {
                f"endpoints.{NAME}.version": versions[0],
                f"endpoints.{NAME}.replicas.min": 1,
                f"endpoints.{NAME}.replicas.max": 2,
                f"endpoints.{NAME}.prediction_log.sample": 1,
            }
        )
        platform.up()
        wait_for("its pod", lambda: len(answering(platform, NAME)) == 1, seconds=120)
        wait_for("its Service", lambda: responds(f"{platform.endpoint_url(NAME)}/ping"), seconds=20)
        yield platform, versions
    platform.up()


def responds(url: str) -> bool:
    """Whether the Service is open: a connection that is opened before kube-proxy knows the Service stays lost."""
    try:
        return httpx.get(url, timeout=1).is_success
    except httpx.TransportError:
        return False


def challenge(
    platform: Platform, version: str, percent: int, experiment: str = "trees", *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Set the challenger, and release the change."""
    values: Mapping[str, str | int] = {"version": version, "percent": percent, "key": KEY, "experiment": experiment}
    platform.set({f"endpoints.{NAME}.challenger.{key}": value for key, value in values.items()})
    return platform.up(check=check)


def remove(platform: Platform, role: str) -> None:
    platform.pulumi("config", "rm", "--path", f"mlops:endpoints.{NAME}.{role}")


def shares(answers: Answers) -> Mapping[str, float]:
    """Share of each version among answers to requests that were sent after now."""
    start, before = time.monotonic(), len(answers.all)
    wait_for("an answer to each key", lambda: len(answers.all) > before + KEYS + 100, seconds=120)
    ours = [answer for answer in answers.all if answer.due > start]
    return {version: sum(a.version == version for a in ours) / len(ours) for version in {a.version for a in ours}}


class Steps:
    """Steps of a test, to say during which one a request was lost."""

    def __init__(self) -> None:
        self._begun: list[tuple[float, str]] = [(0, "before")]

    def begin(self, name: str) -> None:
        self._begun.append((time.monotonic(), name))

    @contextmanager
    def enough(self, answers: Answers, name: str) -> Generator[None]:
        """Begin a step, which lasts until LEAST requests were answered in it."""
        self.begin(name)
        yield
        wait_for(f"{LEAST} answers after {name}", lambda: self.counts(answers)[name] >= LEAST, seconds=300)

    def counts(self, answers: Answers) -> Counter[str]:
        """Return the number of answers in each step."""
        return Counter(self._of(answer.due).partition(" s after ")[2] for answer in answers.all)

    def lost(self, answers: Answers) -> list[str]:
        """Return the failures, each with the step in which its request was due, and the seconds since its begin."""
        return [
            f"{answer.failure} {self._of(answer.due)}, after {answer.seconds:.3f} s"
            for answer in answers.all
            if answer.failure
        ]

    def _of(self, due: float) -> str:
        start, name = [step for step in self._begun if step[0] <= due][-1]
        return f"{due - start:.1f} s after {name}"


def test_an_experiment_starts_grows_survives_its_routers_and_is_promoted_and_no_request_is_lost(
    split: tuple[Platform, list[str]],
) -> None:
    platform, (first, second, _) = split
    steps = Steps()
    with load(f"{platform.endpoint_url(NAME)}/invocations", ROWS, per_second=RATE, key_header=KEY) as answers:
        wait_for("an answer", lambda: answers.latest == first, seconds=20)
        steps.begin("the start of the experiment")
        challenge(platform, second, 10)
        wait_for("a tenth", lambda: 0.07 < shares(answers).get(second, 0) < 0.13, seconds=120)
        steps.begin("the change to 50 %")
        challenge(platform, second, 50)
        wait_for("half", lambda: 0.45 < shares(answers).get(second, 0) < 0.55, seconds=120)
        steps.begin("the restart of the routers")
        platform.kubectl("rollout", "restart", f"deployment/{NAME}-router", *SERVING)
        platform.kubectl("rollout", "status", f"deployment/{NAME}-router", *SERVING, "--timeout=120s")
        steps.begin("the promotion")
        remove(platform, "challenger")
        platform.set({f"endpoints.{NAME}.version": second})
        platform.up()
        wait_for("the promoted version alone", lambda: shares(answers) == {second: 1.0}, seconds=120)
    print(f"{len(answers.all)} answers, lost: {steps.lost(answers)}")
    assert steps.lost(answers) == []
    assert {one["metadata"]["name"] for one in platform.items("deployments", *SERVING)} & {
        f"{NAME}-router",
        f"{NAME}-challenger",
    } == set()


@pytest.mark.nightly
def test_no_step_of_an_experiment_loses_one_of_5000_requests_and_no_caller_sees_two_versions(
    split: tuple[Platform, list[str]],
) -> None:
    platform, (first, second, _) = split
    platform.set({f"endpoints.{NAME}.replicas.{key}": pods for key, pods in (("min", 2), ("max", 3))})
    platform.up()
    wait_for("two pods", lambda: len(answering(platform, NAME)) == 2, seconds=120)
    steps = Steps()
    with load(f"{platform.endpoint_url(NAME)}/invocations", ROWS, per_second=RATE, key_header=KEY) as answers:
        wait_for("an answer", lambda: answers.latest == first, seconds=20)
        with steps.enough(answers, "the start of the experiment"):
            platform.set({f"endpoints.{NAME}.challenger.replicas.{key}": 1 for key in ("min", "max")})
            challenge(platform, second, 10)
        with steps.enough(answers, "the change to 50 %"):
            challenge(platform, second, 50)
        assigned = versions_of_keys(platform)
        assert 0.45 < len([key for key, found in assigned.items() if found == {second}]) / len(assigned) < 0.55
        with steps.enough(answers, "the restart of the routers"):
            platform.kubectl("rollout", "restart", f"deployment/{NAME}-router", *SERVING)
            platform.kubectl("rollout", "status", f"deployment/{NAME}-router", *SERVING, "--timeout=120s")
            assert versions_of_keys(platform) == assigned
        with steps.enough(answers, "twice as many routers"):
            scale_routers(platform, 4)
            assert versions_of_keys(platform) == assigned
            scale_routers(platform, 2)
        with steps.enough(answers, "the drain of the node"):
            drain(platform)
        with steps.enough(answers, "the end of the experiment"):
            remove(platform, "challenger")
            platform.up()
            wait_for("the served version alone", lambda: shares(answers) == {first: 1.0}, seconds=120)
    print(f"{steps.counts(answers)}, lost: {steps.lost(answers)}")
    assert steps.lost(answers) == []


@pytest.mark.nightly
def test_a_challenger_or_shadow_that_is_killed_hangs_or_runs_out_of_memory_costs_no_request_and_is_counted(
    split: tuple[Platform, list[str]],
) -> None:
    platform, (first, _, third) = split
    fragile = register(NAME, FRAGILE, {"number": [1]})
    steps, url = Steps(), f"{platform.endpoint_url(NAME)}/invocations"
    with load(url, ROWS, per_second=RATE, key_header=KEY) as answers:
        wait_for("an answer", lambda: answers.latest == first, seconds=20)
        platform.set({f"endpoints.{NAME}.shadow.version": third, f"endpoints.{NAME}.challenger.memory": "512Mi"})
        platform.set({f"endpoints.{NAME}.{role}.replicas.{key}": 1 for role in ROLES for key in ("min", "max")})
        challenge(platform, fragile, 50, "forest")
        wait_for("half", lambda: 0.45 < shares(answers).get(fragile, 0) < 0.55, seconds=120)
        key = wait_for("a caller of the challenger", lambda: caller_of(url, fragile), seconds=20)
        (challenger,), (shadow,) = (names_of_pods(platform, f"model-{role}") for role in ROLES)
        with steps.enough(answers, "the death of the challenger's server"):
            os.kill(server_in(challenger), signal.SIGKILL)
            wait_for("the challenger again", lambda: shares(answers).get(fragile, 0) > 0.4, seconds=120)
        with steps.enough(answers, "the challenger hangs"):
            before = counted(platform, RETRIED)
            os.kill(server_in(challenger), signal.SIGSTOP)
            wait_for("the served version alone", lambda: shares(answers) == {first: 1.0}, seconds=60)
            assert counted(platform, RETRIED) > before
            wait_for("the challenger again", lambda: shares(answers).get(fragile, 0) > 0.4, seconds=180)
        with steps.enough(answers, "the challenger runs out of memory"):
            before = counted(platform, RETRIED)
            answer = httpx.post(url, json={"dataframe_records": [{"number": 99}]}, headers={KEY: key}, timeout=40)
            assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, first)
            assert counted(platform, RETRIED) > before
            wait_for("its end", lambda: (end_in(platform, challenger) or {}).get("reason") == "OOMKilled", seconds=30)
            wait_for("the challenger again", lambda: shares(answers).get(fragile, 0) > 0.4, seconds=180)
        with steps.enough(answers, "the shadow hangs"):
            os.kill(server_in(shadow), signal.SIGSTOP)
            wait_for("copies that are dropped", lambda: counted(platform, NOT_COPIED) > 0, seconds=60)
    print(f"{steps.counts(answers)}, lost: {steps.lost(answers)}")
    assert steps.lost(answers) == []
    assert third not in answers.by_version


@pytest.mark.nightly
def test_a_challenger_that_cannot_be_loaded_fails_the_update_with_its_reason_and_the_former_one_stays(
    split: tuple[Platform, list[str]],
) -> None:
    platform, (first, second, _) = split
    broken = register(NAME, BROKEN, {"number": [1]})
    steps = Steps()
    with load(f"{platform.endpoint_url(NAME)}/invocations", ROWS, per_second=RATE, key_header=KEY) as answers:
        wait_for("an answer", lambda: answers.latest == first, seconds=20)
        with steps.enough(answers, "the start with a broken challenger"):
            failed = challenge(platform, broken, 50, "broken", check=False)
            assert failed.returncode != 0
            assert "the weights are damaged" in failed.stdout + failed.stderr
            assert names_of_pods(platform, "model-router") == set()
        with steps.enough(answers, "the start with another one"):
            challenge(platform, second, 50)
            wait_for("half", lambda: 0.45 < shares(answers).get(second, 0) < 0.55, seconds=120)
        with steps.enough(answers, "the change to a broken one"):
            platform.set({f"endpoints.{NAME}.rollback_on_failure": "true"})
            failed = challenge(platform, broken, 50, "broken-again", check=False)
            assert failed.returncode != 0
            assert (
                f"{NAME}-challenger: the failed release was rolled back in the cluster" in failed.stdout + failed.stderr
            )
            wait_for("the former alone", lambda: versions_of_pods(platform) == {second}, seconds=120)
            wait_for("half again", lambda: 0.45 < shares(answers).get(second, 0) < 0.55, seconds=60)
    print(f"{steps.counts(answers)}, lost: {steps.lost(answers)}")
    assert steps.lost(answers) == []
    assert set(answers.by_version) == {first, second}


def names_of_pods(platform: Platform, kind: str) -> set[str]:
    """Return the names of the endpoint's pods of a kind, of which Kubernetes deletes none."""
    found = platform.items("pods", *SERVING, "-l", f"{INSTANCE},app.kubernetes.io/name={kind}")
    return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def versions_of_pods(platform: Platform) -> set[str]:
    """Return the versions of the challenger's pods."""
    found = platform.items("pods", *SERVING, "-l", f"{INSTANCE},app.kubernetes.io/name=model-challenger")
    return {pod["metadata"]["labels"]["app.kubernetes.io/version"] for pod in found}


def addresses_of_routers(platform: Platform) -> list[str]:
    """Return the addresses of the routers that are ready and stay."""
    found = platform.items("pods", *SERVING, "-l", f"{INSTANCE},app.kubernetes.io/name=model-router")
    ready = answering(platform, NAME)
    return [pod["status"]["podIP"] for pod in found if pod["metadata"]["name"] in ready]


def versions_of_keys(platform: Platform) -> Mapping[str, set[str]]:
    """Return the versions that answer each of KEYS keys, asked through every router; all answers must be 200."""
    found: dict[str, set[str]] = {f"{key}": set() for key in range(KEYS)}
    for host in addresses_of_routers(platform):
        answers = send(8080, [keyed_request(key) for key in found], ahead=1, host=host)
        assert {status for status, *_ in answers} == {200}
        for key, (_, version, _) in zip(found, answers, strict=True):
            found[key].add(version)
    assert {len(versions) for versions in found.values()} == {1}
    return found


def keyed_request(key: str) -> bytes:
    return request(json.dumps(ROWS).encode(), {KEY: key, "Content-Type": "application/json"})


def caller_of(url: str, version: str) -> str:
    """Return a key whose requests the version answers; empty if none of some keys is answered by it."""
    for key in map(str, range(20)):
        if httpx.post(url, json=ROWS, headers={KEY: key}, timeout=20).headers["X-Model-Version"] == version:
            return key
    return ""


def counted(platform: Platform, counter: str) -> int:
    """Return the sum of a counter of Envoy over all routers."""
    return sum(
        int(line.rpartition(" ")[2])
        for host in addresses_of_routers(platform)
        for line in httpx.get(f"http://{host}:8081/metrics", timeout=20).text.splitlines()
        if line.startswith(counter)
    )


def scale_routers(platform: Platform, number: int) -> None:
    platform.kubectl("scale", f"deployment/{NAME}-router", *SERVING, f"--replicas={number}")
    wait_for(f"{number} routers", lambda: len(addresses_of_routers(platform)) == number, seconds=120)


def drain(platform: Platform) -> None:
    """Drain the one node that runs pods: one pod of each kind leaves, and the budgets keep the last ones."""
    try:
        drained = platform.lab(
            "kubectl", "drain", layout.CPU_NODE, f"--pod-selector={INSTANCE}", "--delete-emptydir-data",
            "--timeout=40s", check=False,
        )  # fmt: skip
        assert "violate the pod's disruption budget" in drained.stderr
    finally:
        platform.kubectl("uncordon", layout.CPU_NODE)
    for deployment in (NAME, f"{NAME}-challenger", f"{NAME}-router"):
        platform.kubectl("rollout", "status", f"deployment/{deployment}", *SERVING, "--timeout=120s")
