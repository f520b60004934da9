"""`mlops release --steps` on the lab's cluster, while clients send requests all the time."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, Platform, answering, fresh_shell, wait_for
from tests.e2e.load import load
from tests.e2e.models import register
from tests.e2e.test_two_versions import KEY, ROWS, SOURCE, responds, shares

pytestmark = pytest.mark.e2e

NAME = "gradual"
MLOPS = Path(sys.executable).parent / "mlops"
BROKEN = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input["number"].min() > 0:
            raise ValueError("no number above zero")
        return [0] * len(model_input)
"""


@pytest.fixture
def served(platform: Platform) -> Iterator[tuple[Platform, str]]:
    """The platform with an endpoint of its own, and the version that it serves."""
    platform.lab("up", timeout=3000)
    version = register(NAME, SOURCE, {"number": [1]})
    with platform.config_restored():
        values: dict[str, str | int] = {"version": version, "replicas.min": 1, "replicas.max": 2}
        platform.set(
            {f"endpoints.{NAME}.{key}": value for key, value in {**values, "prediction_log.sample": 1}.items()}
        )
        platform.up()
        wait_for("its pod", lambda: len(answering(platform, NAME)) == 1, seconds=120)
        wait_for("its Service", lambda: responds(f"{platform.endpoint_url(NAME)}/ping"), seconds=20)
        yield platform, version
    platform.up()


def words(version: str, hold: str) -> list[str | Path]:
    """Return the command line of a release in steps."""
    steps = ["--steps", "10,50,100", "--hold", hold, "--least", "30", "--key", KEY, "--max-p95", "2500"]
    return [MLOPS, "release", NAME, version, "--stack", "local", *steps, "--json"]


def release(version: str, hold: str) -> tuple[int, dict[str, Any], str]:
    """Return exit code, report and last line of a release in steps."""
    done = subprocess.run(
        words(version, hold),
        cwd=ROOT,
        env=fresh_shell(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    print(done.stdout, done.stderr)
    return done.returncode, json.loads(done.stdout), done.stderr.splitlines()[-1]


@pytest.mark.nightly
def test_a_version_that_fails_goes_back_by_itself_and_one_that_works_is_released_without_a_lost_request(
    served: tuple[Platform, str],
) -> None:
    platform, first = served
    file = platform.root / "Pulumi.local.yaml"
    before = file.read_text()
    broken = register(NAME, BROKEN, {"number": [0]})
    good = register(NAME, SOURCE, {"number": [1]})
    with load(f"{platform.endpoint_url(NAME)}/invocations", ROWS, per_second=100, key_header=KEY) as answers:
        wait_for("an answer", lambda: answers.latest == first, seconds=20)
        code, report, last = release(broken, "60s")
        assert (code, report["outcome"], report["percent"]) == (3, "taken back", 0)
        assert "requests refused (4xx), 100.0%" in last
        assert file.read_text() == before
        assert shares(answers) == {first: 1.0}
        code, report, last = release(good, "20s")
        assert (code, report["outcome"], report["percent"]) == (0, "done", 100), last
        assert [hold["percent"] for hold in report["holds"]] == [10, 50]
        wait_for("the new version alone", lambda: shares(answers) == {good: 1.0}, seconds=120)
    lost = [answer for answer in answers.all if answer.failure and answer.version != broken]
    print(f"{len(answers.all)} answers, {len(answers.failures)} of them failures of the broken version, lost: {lost}")
    assert lost == []
    assert answers.by_version.keys() == {first, broken, good}


@pytest.mark.nightly
def test_a_release_that_is_killed_in_an_update_goes_on_when_it_is_run_again(served: tuple[Platform, str]) -> None:
    platform, first = served
    file, good = platform.root / "Pulumi.local.yaml", register(NAME, SOURCE, {"number": [1]})
    with load(f"{platform.endpoint_url(NAME)}/invocations", ROWS, per_second=100, key_header=KEY) as answers:
        wait_for("an answer", lambda: answers.latest == first, seconds=20)
        killed = subprocess.Popen(words(good, "20s"), cwd=ROOT, env=fresh_shell(), stderr=subprocess.DEVNULL)
        wait_for("the update of the second step", lambda: "percent: 50" in file.read_text(), seconds=300)
        killed.kill()
        killed.wait()
        # The engine may outlive the command; then `lab up` removes its lock and deploys what the file declares.
        wait_for("the end of the engine", lambda: not platform.lab("up", check=False).returncode, seconds=300)
        code, report, last = release(good, "20s")
        assert (code, [hold["percent"] for hold in report["holds"]]) == (0, [50]), last
        wait_for("the new version alone", lambda: shares(answers) == {good: 1.0}, seconds=120)
    assert answers.failures == []
