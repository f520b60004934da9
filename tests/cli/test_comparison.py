"""`mlops compare` on logs in a folder, and once on the logs of real servers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bench import experiment_demo
from cli.main import run
from contract.tags import COMPARISON
from tests.experiments.logs import EXPERIMENT, MODEL, experiment, write
from tests.registry import Registry

PERIOD = ["--since", "2026-12-01", "--until", "2026-12-31T00:00"]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a command line that compares two versions of which the challenger is better."""
    monkeypatch.chdir(tmp_path)
    rows, known = experiment(800, right=lambda role: 0.95 if role == "challenger" else 0.7)
    write(tmp_path / "log", rows)
    (tmp_path / "outcomes.csv").write_text(known)
    return ["compare", MODEL, "--log", "log", "--outcomes", "outcomes.csv", *PERIOD]


def test_the_report_ends_with_a_recommendation(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--percent", "50", "--by", "contract"]) == 0
    told = capsys.readouterr().out
    assert "Promote version 8: its accuracy is better. Write version: 8 in the stack file" in " ".join(told.split())
    assert "contract = yearly" in told


def test_json_and_html_have_the_same_content(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--percent", "50", "--json", "--html", "report.html"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["decision"], report["experiment"]) == ("promote", EXPERIMENT)
    page = Path("report.html").read_text()
    assert f"{report['arms'][0]['requests']:,}" in page
    assert "Promote version 8" in page
    assert "src=" not in page


def test_a_wrong_sample_ratio_has_an_exit_code_of_its_own(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--percent", "20"]) == 3
    assert "Do not conclude anything" in capsys.readouterr().out


def test_model_and_share_come_from_the_stack_file(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("Pulumi.yaml").write_text("name: mlops\nruntime: python\n")
    endpoint = f"model: {MODEL}, version: 7, challenger: {{version: 8, percent: 50}}"
    Path("Pulumi.prod.yaml").write_text(f"config:\n  mlops:endpoints:\n    churn: {{{endpoint}}}\n")
    stack = ["compare", "churn", *words[2:], "--stack", "prod"]
    assert run(stack) == 2
    assert "has no predictions of churn-predictor by endpoint churn from" in capsys.readouterr().err
    assert run([*stack, "--endpoint", "churn-predictor"]) == 0
    assert "Promote version 8" in capsys.readouterr().out
    assert run(["compare", "chrun", *words[2:], "--stack", "prod"]) == 2
    assert "Pulumi.prod.yaml has no endpoint chrun; its endpoints are churn" in capsys.readouterr().err
    assert run([*stack[:-1], "dev"]) == 2
    assert "Pulumi.dev.yaml cannot be read: No such file or directory; write --stack with one of prod" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "write --percent, as in --percent 10, or --stack"),
        (
            ["--percent", "50", "--since", "yesterday"],
            "--since 'yesterday' is not a time; write a date or a time in UTC",
        ),
        (["--percent", "50", "--since", "2027-01-01"], "--since 2027-01-01 00:00 is not before --until 2026-12-31"),
        (["--percent", "50", "--prediction", "low"], "has no column prediction_low; leave --prediction out"),
        (["--percent", "50", "--html", "no/report.html"], "--html no/report.html cannot be written"),
        (["--percent", "50", "--outcomes", "none.csv"], "none.csv cannot be read"),
    ],
)
def test_wrong_options_are_one_line_that_says_what_to_write(
    words: list[str], capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert run([*words, *more]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_prometheus_that_is_away_may_be_tried_again(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--percent", "50", "--prometheus", "http://127.0.0.1:1"]) == 1
    assert "Prometheus at http://127.0.0.1:1 did not respond" in capsys.readouterr().err


def test_a_recorded_report_is_a_run_and_a_tag_of_the_challengers_version(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows, known = experiment(300, days=0.1)
    write(tmp_path / "log", [replace(row, version=1 if row.role == "champion" else 2) for row in rows])
    (tmp_path / "outcomes.csv").write_text(known)
    command = ["compare", MODEL, "--log", "log", "--outcomes", "outcomes.csv", *PERIOD, "--percent", "50"]
    assert run([*command, "--record", "--tracking-uri", registry.uri]) == 0
    client = MlflowClient(registry.uri)
    tag = json.loads(client.get_model_version(MODEL, "2").tags[COMPARISON])
    assert (tag["decision"], tag["experiment"]) == ("continue", EXPERIMENT)
    artifacts = Path(str(client.get_run(tag["run"]).info.artifact_uri).removeprefix("file://"))
    assert {file.name for file in artifacts.iterdir()} == {"report.html", "report.json"}


@pytest.mark.long
def test_real_servers_write_what_is_compared(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for version, source in ((1, 1), (2, 2), (3, 1)):
        shutil.copytree(registry.files(source), tmp_path / "models" / MODEL / str(version))
    with experiment_demo.run(tmp_path, 400) as demo:
        for name, value in demo.environment.items():
            monkeypatch.setenv(name, value)
        percent = str(experiment_demo.PERCENT)
        command = [
            "compare",
            MODEL,
            "--log",
            demo.log,
            "--percent",
            percent,
            "--outcomes",
            str(demo.outcomes),
            "--json",
        ]
        assert run(command) == 0
    report = json.loads(capsys.readouterr().out)
    champion, challenger, shadow = report["arms"]
    assert [arm["versions"] for arm in report["arms"]] == [[1], [2], [3]]
    sent = experiment_demo.visits(range(400))
    assert champion["requests"] + challenger["requests"] == len([visit for visit in sent if visit.key])
    assert champion["units"] + challenger["units"] == len({visit.key for visit in sent if visit.key})
    assert report["keys"]["unassigned"] == len([visit for visit in sent if not visit.key])
    assert report["keys"]["in_both"] == 0
    assert shadow["requests"] == report["shadow"]["joined"] + report["shadow"]["alone"] > 0
    assert report["joined"]["joined"] == champion["requests"] + challenger["requests"]
