"""`make runs`: the last runs, with what came of them."""

import json

from tests.runs.conftest import Command
from tests.runs.world import JOB, MADE, World, complete, container, failed, job, pod, row, template

CHURN = template()
EVENING = "2026-03-01T20:00:00Z"


def test_runs_are_listed_the_latest_last_with_state_and_time(world: World, runs: Command) -> None:
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
    code, said = runs("list")
    assert code == 0
    assert row(said, "churn-done").startswith("churn-done churn runs Succeeded 2026-03-01 12:00 01:35")
    assert row(said, "churn-bad").startswith("churn-bad churn runs Failed 2026-03-01 12:00 10:00")
    assert row(said, "churn-late").startswith("churn-late churn runs max_depth=3 Running")
    assert row(said, "churn-wait").startswith("churn-wait churn runs Waiting")
    assert said.splitlines()[-1].startswith("churn-late")
    assert "without metrics: Service mlflow cannot be reached through kubectl" in said


def test_a_sweep_shows_how_far_it_is(world: World, runs: Command) -> None:
    swept = template({"training.churn.sweep": {"grid": {"max_depth": [1, 2, 3]}, "max_parallel": 2}})
    world.scenes([job(swept, status={"startTime": MADE, "succeeded": 2}), pod("Running", **container(running={}))])
    assert " Running 2/3 " in row(runs("list")[1], JOB)


def test_the_last_of_one_training_job_can_be_asked_for(world: World, runs: Command) -> None:
    world.scenes(
        [CHURN, *(job(CHURN, name=f"churn-{n}", creationTimestamp=f"2026-03-0{n}T00:00:00Z") for n in (3, 1, 2))]
    )
    said = runs("list", "--last", "2", "--name", "churn")[1]
    assert [line.split()[0] for line in said.splitlines() if line.startswith("churn-")] == ["churn-2", "churn-3"]
    assert "instance=churn" in world.asked[0]


def test_without_any_run_it_says_how_to_start_one(world: World, runs: Command) -> None:
    world.scenes([CHURN])
    assert "no runs yet; start one with: make train NAME=" in runs("list")[1]
