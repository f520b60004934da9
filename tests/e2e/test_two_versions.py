"""An endpoint with a challenger and a shadow: it starts, changes and ends while clients send requests all the time."""

import time
from collections.abc import Iterator, Mapping

import httpx
import pytest

from tests.e2e.conftest import Platform, answering, wait_for
from tests.e2e.load import KEYS, Answers, load
from tests.e2e.models import register

pytestmark = pytest.mark.e2e

NAME, KEY = "split", "X-Customer-Id"
SOURCE = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [0] * len(model_input)
"""
ROWS = {"dataframe_records": [{"number": 1}]}
SERVING = ("-n", "ml-serving")


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


def challenge(platform: Platform, version: str, percent: int, experiment: str = "trees") -> None:
    """Set the challenger, and release the change."""
    values: Mapping[str, str | int] = {"version": version, "percent": percent, "key": KEY, "experiment": experiment}
    platform.set({f"endpoints.{NAME}.challenger.{key}": value for key, value in values.items()})
    platform.up()


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
    with load(f"{platform.endpoint_url(NAME)}/invocations", ROWS, per_second=100, key_header=KEY) as answers:
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
def test_a_challenger_that_dies_a_shadow_and_an_abort_lose_no_request(
    split: tuple[Platform, list[str]],
) -> None:
    platform, (first, second, third) = split
    with load(f"{platform.endpoint_url(NAME)}/invocations", ROWS, per_second=100, key_header=KEY) as answers:
        wait_for("an answer", lambda: answers.latest, seconds=20)
        platform.set({f"endpoints.{NAME}.shadow.version": third})
        challenge(platform, second, 50, "forest")
        wait_for("half", lambda: 0.45 < shares(answers).get(second, 0) < 0.55, seconds=120)
        assert third not in answers.by_version
        platform.kubectl("delete", "pod", *SERVING, "-l", "app.kubernetes.io/name=model-challenger", "--force")
        wait_for("the challenger again", lambda: shares(answers).get(second, 0) > 0.4, seconds=120)
        remove(platform, "shadow")
        remove(platform, "challenger")
        platform.up()
        wait_for("the served version alone", lambda: shares(answers) == {first: 1.0}, seconds=120)
    print(f"{len(answers.all)} answers, {len(answers.failures)} failures {answers.failures[:5]}")
    assert answers.failures == []
