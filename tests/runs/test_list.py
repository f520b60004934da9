"""`mlops runs`: the last runs and their results."""

import json
import os
import subprocess
import sys

import pytest
from rich.text import Text

from cli.main import run
from tests.command import Command
from tests.runs.world import JOB, MADE, World, complete, container, event, failed, job, pod, row, template, validation

CHURN = template()
EVENING = "2026-03-01T20:00:00Z"


def test_runs_are_listed_the_latest_last_with_state_and_time(world: World, mlops: Command) -> None:
    given = {"mlops/given": json.dumps({"max_depth": 3})}
    world.scenes(
        [
            CHURN,
            job(CHURN, name="churn-late", creationTimestamp=EVENING, annotations=given),
            pod("Running", of="churn-late", **container(running={})),
            job(CHURN, name="churn-done", status=complete()),
            job(CHURN, name="churn-bad", status=failed("DeadlineExceeded", "too long")),
            job(CHURN, name="churn-wait", creationTimestamp=MADE, status={}),
        ]
    )
    code, said = mlops("runs")
    assert code == 0
    assert row(said, "churn-done").startswith("churn-done churn runs Succeeded 2026-03-01 12:00 01:35")
    assert row(said, "churn-bad").startswith("churn-bad churn runs Failed 2026-03-01 12:00 10:00")
    assert row(said, "churn-late").startswith("churn-late churn runs max_depth=3 Running")
    assert row(said, "churn-wait").startswith("churn-wait churn runs Waiting")
    assert said.splitlines()[-1].startswith("churn-late")
    assert (
        "metrics and older runs are missing, because MLflow did not return them: Service mlflow cannot be reached "
        "through kubectl" in said
    )


def test_a_sweep_shows_how_far_it_is(world: World, mlops: Command) -> None:
    swept = template({"training.churn.sweep": {"grid": {"max_depth": [1, 2, 3]}, "max_parallel": 2}})
    world.scenes([job(swept, status={"startTime": MADE, "succeeded": 2}), pod("Running", **container(running={}))])
    assert " Running 2/3 " in row(mlops("runs")[1], JOB)


def test_the_last_of_one_training_job_can_be_asked_for(world: World, mlops: Command) -> None:
    world.scenes(
        [CHURN, *(job(CHURN, name=f"churn-{n}", creationTimestamp=f"2026-03-0{n}T00:00:00Z") for n in (3, 1, 2))]
    )
    said = mlops("runs", "--last", "2", "--name", "churn")[1]
    assert [line.split()[0] for line in said.splitlines() if line.startswith("churn-")] == ["churn-2", "churn-3"]
    assert "instance=churn" in world.asked[0]


def test_without_any_run_it_says_how_to_start_one(world: World, mlops: Command) -> None:
    world.scenes([CHURN])
    assert "no runs yet; start one with: mlops train NAME" in mlops("runs")[1]


def test_a_run_whose_job_is_gone_is_known_by_its_events(world: World, mlops: Command) -> None:
    world.scenes(
        [
            CHURN,
            validation(),
            job(CHURN, name="churn-done", status=complete()),
            event("churn-done", "SuccessfulCreate", MADE),
            event("churn-old1", "BackoffLimitExceeded", "2026-03-01T11:10:00Z"),
            event("churn-old1", "SuccessfulCreate", "2026-03-01T11:00:00Z"),
            event("churn-old2", "SuccessfulCreate", EVENING),
            event("churn-validation-old3", "SuccessfulCreate", MADE),
            event("other-old4", "SuccessfulCreate", MADE),
        ]
    )
    said = mlops("runs")[1]
    assert row(said, "churn-old1") == "churn-old1 churn Failed 2026-03-01 11:00 10:00"
    assert row(said, "churn-old2") == "churn-old2 churn Gone 2026-03-01 20:00"
    assert [line.split()[0] for line in said.splitlines() if "-old" in line] == ["churn-old1", "churn-old2"]
    assert said.count("churn-done") == 1


def test_what_other_people_wrote_is_shown_as_it_is(world: World, mlops: Command) -> None:
    given = {"mlops/given": json.dumps({"region": "[eu]", "path": "[/red]"})}
    foreign = job(CHURN, name="foreign", annotations={"mlops/given": "not JSON"})
    del foreign["metadata"]["labels"]["app.kubernetes.io/instance"]
    foreign["spec"]["template"]["spec"]["containers"].append({"name": "sidecar"})
    world.scenes([CHURN, job(CHURN, annotations=given, status=complete()), foreign])
    code, said = mlops("runs")
    assert code == 0
    assert "region=[eu], path=[/red]" in row(said, JOB)
    assert row(said, "foreign").startswith("foreign runs Waiting")


@pytest.mark.parametrize("name", ["churn,x=y", "churn)", "a b", "x in (y"])
def test_a_name_never_becomes_part_of_a_selector(world: World, mlops: Command, name: str) -> None:
    world.scenes([CHURN])
    code, said = mlops("runs", "--name", name)
    assert (code, (world.folder / "asked").exists()) == (2, False)
    assert (
        said == f"mlops: {name!r} is not the name of a training job, which has lower-case letters, digits "
        "and hyphens only; write a key of mlops:training\n"
    )


def test_on_a_terminal_of_80_columns_no_run_is_cut(
    world: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(variable, value)
    given = {"mlops/given": json.dumps({"learning_rate": 0.05, "num_leaves": 31, "n_estimators": 1000})}
    world.scenes([CHURN, job(CHURN, name="churn-predictor-weekly-x7k2p", annotations=given, status=complete())])
    lines = Text.from_ansi(mlops("runs")[1]).plain.splitlines()
    (line,) = [line for line in lines if line.startswith("churn-predictor-weekly-x7k2p")]
    assert len(line) <= 80
    assert "Succeeded" in line
    assert "\u2026" not in "".join(lines)
    assert lines[-1].startswith("no room for by, of, ")


def test_a_pipe_gets_all_columns_whatever_the_terminal_is(
    world: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    world.scenes([CHURN, job(CHURN, status=complete())])
    assert row(mlops("runs")[1], JOB) == f"{JOB} churn runs Succeeded 2026-03-01 12:00 01:35"


def test_a_program_reads_runs_as_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"mlops/given": json.dumps({"max_depth": 3})}
    world.scenes(
        [
            CHURN,
            job(CHURN, name="churn-done", status=complete(), annotations=given),
            job(CHURN, name="churn-late", creationTimestamp=EVENING, status=failed("DeadlineExceeded", "too long")),
            event("churn-old", "SuccessfulCreate", "2026-03-01T11:00:00Z"),
        ]
    )
    assert run(["runs", "--json"]) == 0
    printed, told = capsys.readouterr()
    old, done, late = json.loads(printed)
    assert "metrics and older runs are missing" in told
    assert done == {
        "run": "churn-done",
        "training": "churn",
        "made_by": "runs",
        "given": {"max_depth": 3},
        "status": "Succeeded",
        "reason": None,
        "started": "2026-03-01T12:00:00+00:00",
        "seconds": 95.0,
        "metrics": {},
        "model": None,
        "version": None,
    }
    assert (late["status"], late["reason"]) == ("Failed", "DeadlineExceeded: too long")
    assert (old["status"], old["seconds"], old.keys()) == ("Gone", None, done.keys())


@pytest.mark.parametrize(("name", "expected"), [("churn", 0), ("chrun", 2)])
def test_a_reader_that_leaves_changes_neither_the_end_nor_the_code(world: World, name: str, expected: int) -> None:
    world.scenes([CHURN])
    command = [sys.executable, "-c", "from cli.main import main; main()", "train", name, "--dry-run"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as output:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == expected
    assert "BrokenPipe" not in ended.stderr
