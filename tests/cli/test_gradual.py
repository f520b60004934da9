"""`mlops release --steps`: each share is an update of the stack, and is watched on real servers behind a real Envoy."""

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring.spec import SERVERS, Platform
from tests.cli.releases import NAME, NEW, OLD, STACK, World, models, world
from tests.command import Command
from tests.monitoring.prometheus import Target, prometheus, until
from tests.pull_requests.github_double import GitHub, environment, serve

WORDS = ("release", NAME, NEW, "--stack", "prod")
HOLD = ("--hold", "1s", "--least", "1")
CALM = ("--max-p95", "30000")
"""A limit that no server of a busy machine exceeds."""
STEPS = (*WORDS, "--steps", "10,50,100", *HOLD, *CALM)
KEY = ("--key", "X-Customer-Id")
STANDING = "      challenger: {version: 3, percent: 10, key: X-Account, experiment: trees}\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of a model that works, and of one that fails."""
    good, bad = models(tmp_path_factory.mktemp("models"))
    return good, bad


@pytest.fixture
def good(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An endpoint whose new version is as good as its old one."""
    with world(tmp_path, folders[0], folders[0], monkeypatch) as made:
        yield made


@pytest.fixture
def bad(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An endpoint whose new version fails on each request."""
    with world(tmp_path, folders[1], folders[0], monkeypatch) as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stack file in a project that is the working folder; nothing runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: mlops\nruntime: python\n")
    (tmp_path / "Pulumi.prod.yaml").write_text(STACK)
    return tmp_path / "Pulumi.prod.yaml"


@pytest.mark.long
def test_a_good_version_gets_share_after_share_and_is_served_to_all(good: World, mlops: Command) -> None:
    code, said = mlops(*STEPS, *KEY, "--json")
    assert code == 0, said
    assert good.shares == [0, 10, 50, 100]
    assert good.file.read_text() == STACK.replace(f"version: {OLD}", f"version: {NEW}")
    report = json.JSONDecoder().raw_decode(said)[0]
    assert (report["outcome"], report["percent"]) == ("done", 100)
    for hold, share in zip(report["holds"], (0.1, 0.5), strict=True):
        expected, sigma = share * hold["assigned"], math.sqrt(share * (1 - share) * hold["assigned"])
        assert abs(hold["reached"] - expected) <= 4 * sigma + 10, "some requests are under way at each look"
        assert hold["challenger"]["failed"] == hold["champion"]["failed"] == 0


@pytest.mark.long
def test_a_version_that_fails_is_removed_again_before_the_hold_is_over(bad: World, mlops: Command) -> None:
    words = [{"1s": "60s"}.get(str(word), word) for word in STEPS]
    code, said = mlops(*words, *KEY)
    assert code == 3
    assert bad.shares == [0, 10, 0]
    assert bad.file.read_text() == STACK
    last = said.splitlines()[-1]
    assert f"mlops: {NAME}: " in last
    assert "requests refused (4xx), 100.0%, and 0.0% of the champion's" in last, "MLflow answers 400 for a ValueError"
    assert last.endswith("at most 1.0% more are allowed; the challenger is removed, in Pulumi.prod.yaml too")


@pytest.mark.long
def test_a_release_that_was_stopped_goes_on_from_the_share_in_the_file_and_a_breach_restores_the_share_before(
    good: World, mlops: Command
) -> None:
    assert mlops(*WORDS, "--steps", "10", *HOLD, *CALM, *KEY)[0] == 0
    assert good.share() == 10
    code, said = mlops(*WORDS, "--steps", "10,50,100", *HOLD, "--max-p95", "0.001")
    assert code == 3
    assert good.shares == [0, 10, 10, 0], "the share that stands is watched before the next step"
    assert "0.0 ms are allowed" in said
    assert mlops(*STEPS, *KEY)[0] == 0
    assert good.shares[4:] == [10, 50, 100]
    assert mlops(*STEPS)[0] == 0
    assert good.shares[7:] == [100], "the same command once more only updates the stack"


@pytest.mark.long
def test_too_few_requests_are_no_pass_and_the_share_stays(good: World, mlops: Command) -> None:
    good.quiet.set()
    code, said = mlops(*STEPS, *KEY)
    assert code == 1
    assert "the challenger had 0 requests in 1s at 10 %, and 1 or more are needed" in said
    assert "so the share stays 10 %; run the same command again with --hold of a longer time" in said
    assert (good.shares, good.share()) == ([0, 10], 10)


@pytest.mark.long
def test_an_update_that_fails_restores_the_share_before(good: World, mlops: Command) -> None:
    good.exit_codes[:] = [0, 255]
    code, said = mlops(*STEPS, *KEY)
    assert code == 3
    last = (
        "mlops: risk: `pulumi up` failed with exit code 255 at 50 %; the share is 10 % again, in Pulumi.prod.yaml too"
    )
    assert said.splitlines()[-1] == last
    assert (good.shares, good.share()) == ([0, 10, 10], 10)
    good.exit_codes[:] = [255]
    code, said = mlops(*STEPS)
    assert code == 1
    assert (
        "and Pulumi.prod.yaml is as before; correct the cause (`pulumi cancel` ends the lock of a killed update), and "
        "run the same command again" in said
    )


@pytest.mark.long
def test_a_file_that_changes_meanwhile_stops_the_release(good: World, mlops: Command) -> None:
    good.meanwhile = lambda: good.file.write_text(good.file.read_text().replace("percent: 10", "percent: 20"))
    code, said = mlops(*STEPS, *KEY)
    assert code == 1
    assert (
        "has version 2 of risk at 20 %, and this command left it at 10 %: another program or person changed it" in said
    )
    assert good.share() == 20


@pytest.mark.long
def test_with_prometheus_model_servers_are_counted_there_and_routers_in_their_pods(
    good: World, mlops: Command, tmp_path: Path
) -> None:
    pods = good.file.parent / "pods.json"

    def without_servers() -> None:
        pods.write_text(
            json.dumps({name: port for name, port in json.loads(pods.read_text()).items() if "router" in name})
        )

    good.meanwhile = without_servers
    without_servers()
    targets = [Target(job=SERVERS, endpoint=NAME, port=address.port) for address in good.addresses.values()]
    (folder := tmp_path / "prometheus").mkdir()
    with prometheus(Platform(), targets, folder) as running:
        until(lambda: len(running.query("serving_requests_in_flight")) == 2, "the first scrapes")
        words = ["--steps", "50", "--hold", "3s", "--least", "1", *CALM, "--prometheus", running.url]
        code, said = mlops(*WORDS, *words, *KEY, "--json")
    assert code == 0, said
    (hold,) = json.JSONDecoder().raw_decode(said)[0]["holds"]
    assert hold["challenger"]["requests"] > 0
    assert hold["champion"]["requests"] > 0
    assert hold["assigned"] > 0


@pytest.mark.long
def test_no_pod_that_counts_is_an_error_before_anything_changes(good: World, mlops: Command) -> None:
    (good.file.parent / "pods.json").write_text("{}")
    code, said = mlops(*STEPS, *KEY)
    assert code == 1
    assert "no pod of risk counts requests, so nothing could be watched" in said
    assert good.file.read_text() == STACK


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """GitHub, which has the stack file of the checkout in the working folder."""
    monkeypatch.delenv("GITHUB_RUN_ID", raising=False)
    with serve(tmp_path) as made:
        subprocess.run(["git", "init", "--quiet"], check=True)
        made.commit("main", {"Pulumi.prod.yaml": Path("Pulumi.prod.yaml").read_text()})
        for name, value in environment(made).items():
            monkeypatch.setenv(name, value)
        yield made


BRANCH = "mlops/release-prod-risk"


def test_with_pr_the_first_step_is_a_pull_request_and_the_checkout_stays(
    project: Path, github: GitHub, mlops: Command
) -> None:
    code, said = mlops(*STEPS, *KEY, "--pr")
    assert code == 0, said
    assert said == "https://github.com/octo-org/platform/pull/12: risk: version 1 -> 2 at 10 % in prod (opened)\n"
    assert "The first step: no request was compared yet." in github.pulls[0]["body"]
    assert github.git("diff", "--numstat", f"main...{BRANCH}") == "1\t0\tPulumi.prod.yaml"
    assert mlops(*STEPS, *KEY, "--pr")[1].endswith("(unchanged)\n")
    assert project.read_text() == STACK


@pytest.mark.long
def test_with_pr_a_share_is_watched_before_the_next_one_or_the_one_before_is_proposed(
    good: World, mlops: Command, request: pytest.FixtureRequest
) -> None:
    assert mlops(*WORDS, "--steps", "10", *HOLD, *CALM, *KEY)[0] == 0
    github: GitHub = request.getfixturevalue("github")
    code, said = mlops(*WORDS, "--steps", "10,50,100", *HOLD, "--pr", "--max-p95", "0.001")
    assert code == 3
    assert "the challenger's p95 of" in said.splitlines()[-1]
    assert said.endswith("; merge https://github.com/octo-org/platform/pull/12 to go back\n")
    assert github.pulls[0]["title"] == "risk: version 1 -> 2 at 0 % in prod"
    assert github.git("show", f"{BRANCH}:Pulumi.prod.yaml") == STACK.strip()
    code, said = mlops(*STEPS, "--pr")
    assert (code, github.pulls[0]["title"]) == (0, "risk: version 1 -> 2 at 50 % in prod"), said
    assert "- 10 % for " in github.pulls[0]["body"]
    assert (good.shares, good.share()) == ([0, 10], 10), "nothing was deployed"


def test_a_dry_run_shows_each_step_as_a_difference(project: Path, mlops: Command) -> None:
    code, said = mlops(*STEPS, *KEY, "--dry-run")
    assert code == 0
    added = "+      challenger: {version: 2, percent: 10, key: X-Customer-Id, experiment: release-1-2}\n"
    assert "risk: 0 % -> 10 %\n--- a/Pulumi.prod.yaml\n" in said
    assert added in said
    assert added.replace("10", "50", 1) in said
    assert "-      version: 1 # ours\n" in said
    assert "+      version: 2 # ours\n" in said
    assert said.splitlines()[-1] == "Pulumi.prod.yaml: nothing was changed"
    assert project.read_text() == STACK


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--steps", "10,5"], "--steps 10,5 is not a list of rising shares"),
        (["--steps", "10,60,100"], "a challenger answers 1 to 50 percent of the callers, and 100 makes it the served"),
        (["--steps", "0,100"], "write it as in --steps 1,10,50,100"),
        (["--steps", "1 %"], "--steps 1 % is not a list"),
        (["--steps", "10,100", "--hold", "soon"], "--hold soon is not a time from 1s to 48h"),
        (["--steps", "10,100"], "risk has no challenger yet, and callers are split by a request header; write --key"),
        (["--key", "X-Customer-Id"], "belong to --steps; write it too"),
    ],
)
def test_a_wrong_request_is_one_line_and_changes_nothing(
    project: Path, mlops: Command, more: list[str], said: str
) -> None:
    code, output = mlops(*WORDS, *more)
    (line,) = output.splitlines()
    assert code == 2
    assert said in line
    assert project.read_text() == STACK


@pytest.mark.parametrize(
    ("version", "more", "said"),
    [
        (2, [], "risk has version 3 as its challenger, and an endpoint has one at a time; end that experiment first"),
        (3, ["--key", "X-Other"], "--key X-Other differs from X-Account, the key of the running experiment"),
        (3, ["--experiment", "forest"], "--experiment forest differs from trees, the experiment of the running"),
    ],
)
def test_a_declared_challenger_is_not_replaced(
    project: Path, mlops: Command, version: int, more: list[str], said: str
) -> None:
    project.write_text(STACK + STANDING)
    code, output = mlops("release", NAME, version, "--stack", "prod", "--steps", "10,100", *more)
    (line,) = output.splitlines()
    assert code == 2
    assert said in line
    assert project.read_text() == STACK + STANDING
