"""`mlops notebook --training`: the Job of the pod, and the notebooks that are copied there and back."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import laptop, pool_notebook
from contract import names
from runs.declared import Declared
from tests.command import Command
from tests.runs.conftest import world
from tests.runs.world import World, container, ended, failed, job, pod, template

__all__ = ["world"]

CHURN = template()
JOB, POD = "churn-notebook-x7k2p", "churn-notebook-x7k2p-aaaaa"


def notebook(*, of: str = "", **status: Any) -> dict[str, Any]:
    """Return the Job of a notebook as the cluster has it; `of` is another person."""
    annotations = {pool_notebook.OWNER: of or laptop.requester()}
    made = job(CHURN, name=JOB, annotations=annotations, **status)
    made["metadata"]["labels"] |= names.NOTEBOOKS
    made["spec"]["activeDeadlineSeconds"] = 7200
    return made


def text(said: str) -> str:
    """Return the text of a notebook with one cell."""
    return json.dumps({"cells": [said]})


def its_pod(phase: str, **status: Any) -> dict[str, Any]:
    made = pod(phase, name=POD, of=JOB, **status)
    made["metadata"]["labels"] |= names.NOTEBOOKS
    return made


READY = container(running={})
READY["containerStatuses"][0]["ready"] = True
RUNNING = [CHURN, notebook(), its_pod("Running", **READY)]


@pytest.fixture
def jupyter(world: World) -> World:
    """A cluster whose pod has an empty folder of notebooks."""
    (world.folder / "pod").mkdir()
    (world.folder / "mlflow").write_text("127.0.0.1:8888")
    (world.folder / "token").write_text("0f")
    return world


def connected(folder: Path, until: str) -> str:
    """Run the command in a folder up to Ctrl-C after it printed a line with a text, and return what it printed."""
    command = [Path(sys.executable).with_name("mlops"), "notebook", "--training", "churn", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout
        printed = ""
        for line in process.stdout:
            printed += line
            if until in line:
                process.send_signal(signal.SIGINT)
        assert process.wait() == 0, printed
    return printed


def test_the_job_runs_jupyterlab_where_the_training_runs_and_is_no_run_of_it(world: World, mlops: Command) -> None:
    world.scenes([CHURN])
    code, said = mlops("notebook", "--training", "churn", "--minutes", "30", "--dry-run")
    made = yaml.safe_load(said)
    run = Declared(template=CHURN).job({}, None)
    assert (code, world.created) == (0, None)
    assert made["spec"]["activeDeadlineSeconds"] == 1800
    assert made["spec"]["backoffLimit"] == 0
    pods, (ours,), (theirs,) = (
        [each["spec"]["template"]["spec"] for each in (made, run)],
        *(each["spec"]["template"]["spec"]["containers"] for each in (made, run)),
    )
    assert {key: value for key, value in pods[0].items() if key != "containers"} == {
        key: value for key, value in pods[1].items() if key != "containers"
    }
    assert {key: ours[key] for key in ("image", "resources", "volumeMounts")} == {
        key: theirs[key] for key in ("image", "resources", "volumeMounts")
    }
    assert not {*pool_notebook.OF_A_JOB} & {entry["name"] for entry in ours["env"]}
    assert not names.TRAINING_JOBS.items() <= made["metadata"]["labels"].items()
    assert "ownerReferences" not in made["metadata"]


def test_notebooks_go_to_the_pod_and_come_back_and_a_file_that_changed_on_both_sides_is_kept(jupyter: World) -> None:
    jupyter.scenes([CHURN], [CHURN], RUNNING)
    here, there = jupyter.folder / "churn-notebook", jupyter.folder / "pod"
    here.mkdir()
    for name in ("same", "mine"):
        (here / f"{name}.ipynb").write_text(text(name))
    (there / "mine.ipynb").write_text(text("of the pod"))
    printed = connected(jupyter.folder, "notebooks are copied")
    assert (there / "same.ipynb").read_text() == text("same")
    assert "mine.ipynb is not copied, because the pod has another one" in printed
    assert "lab?token=" in printed
    assert "mine.ipynb changed on this machine too; the pod's copy is churn-notebook/mine.pod.ipynb" in printed
    assert {file.name: file.read_text() for file in here.glob("*.ipynb")} == {
        "same.ipynb": text("same"), "mine.ipynb": text("mine"), "mine.pod.ipynb": text("of the pod"),
    }  # fmt: skip
    assert "churn-notebook-x7k2p continues until " in printed
    assert "end it with: mlops notebook --training churn --stop" in printed


def test_a_second_command_connects_to_the_notebook_that_runs(jupyter: World) -> None:
    jupyter.scenes(RUNNING)
    (jupyter.folder / "pod" / "made.ipynb").write_text(text("made there"))
    printed = connected(jupyter.folder, "notebooks are copied")
    assert printed.startswith(f"{JOB} runs already; it ends at 14:00 UTC")
    assert "/lab?token=0f\n" in printed
    assert jupyter.created is None
    assert (jupyter.folder / "churn-notebook" / "made.ipynb").read_text() == text("made there")
    (jupyter.folder / "pod" / "made.ipynb").write_text(text("changed there, while no command ran"))
    connected(jupyter.folder, "notebooks are copied")
    assert (jupyter.folder / "churn-notebook" / "made.ipynb").read_text() == text("changed there, while no command ran")


def test_stop_copies_the_notebooks_and_ends_the_pod(
    jupyter: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(jupyter.folder)
    jupyter.scenes(RUNNING)
    (jupyter.folder / "pod" / "made.ipynb").write_text(text("made there"))
    said = f"{JOB} is ended; its notebooks are in churn-notebook\n"
    assert mlops("notebook", "--training", "churn", "--stop") == (0, said)
    assert (jupyter.folder / "churn-notebook" / "made.ipynb").read_text() == text("made there")
    assert (jupyter.folder / "deleted").read_text() == f"job {JOB}"


def test_a_notebook_of_somebody_else_is_left_alone(jupyter: World, mlops: Command) -> None:
    jupyter.scenes([CHURN, notebook(of="somebody-else"), its_pod("Running", **READY)])
    code, said = mlops("notebook", "--training", "churn", "--stop")
    assert code == 2
    assert said.startswith("mlops: no notebook of churn that ")
    assert not (jupyter.folder / "deleted").exists()


def test_stop_keeps_a_pod_whose_notebooks_cannot_be_copied(
    jupyter: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(jupyter.folder)
    jupyter.scenes(RUNNING)
    (jupyter.folder / "pod").rmdir()
    code, said = mlops("notebook", "--training", "churn", "--stop")
    assert code == 1
    assert f"{JOB} still runs, because its notebooks cannot be copied" in said
    assert f"end it without them: kubectl delete job {JOB} -n ml-training" in said
    assert not (jupyter.folder / "deleted").exists()


def test_a_pod_that_has_not_started_is_ended_at_once(
    jupyter: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(jupyter.folder)
    jupyter.scenes([CHURN, notebook(), its_pod("Pending", **container(waiting={"reason": "ContainerCreating"}))])
    assert mlops("notebook", "--training", "churn", "--stop")[0] == 0
    assert (jupyter.folder / "deleted").read_text() == f"job {JOB}"


def test_a_port_in_use_is_named_before_a_pod_is_started(world: World, mlops: Command) -> None:
    world.scenes([CHURN])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = mlops("notebook", "--training", "churn", "--port", port)
    assert (code, world.created) == (1, None)
    assert said.startswith(f"mlops: port {port} of this machine cannot be used: ")


def test_the_notebook_of_a_sweep_runs_as_long_as_asked() -> None:
    swept = template({"training.churn.sweep": {"points": [{"max_depth": 4}, {"max_depth": 8}], "max_parallel": 2}})
    spec = pool_notebook.job(Declared(template=swept), 240)["spec"]
    assert spec["activeDeadlineSeconds"] == 240 * 60
    assert "activeDeadlineSeconds" not in spec["template"]["spec"]
    assert "completions" not in spec


def test_an_image_without_jupyterlab_is_named_as_the_reason(world: World, mlops: Command) -> None:
    said = subprocess.run(
        [sys.executable, "-S", "-c", pool_notebook.START], capture_output=True, text=True, check=False
    )
    assert said.returncode != 0
    over = failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    broken = [CHURN, notebook(status=over), its_pod("Failed", **ended(1, said.stderr))]
    starting = container(waiting={"reason": "ContainerCreating"})
    starting["containerStatuses"][0]["ready"] = False
    world.scenes([CHURN], [CHURN], [CHURN, notebook(), its_pod("Pending", **starting)], broken)
    code, printed = mlops("notebook", "--training", "churn", "--no-browser")
    assert code == 1
    assert f"{POD} Pending: ContainerCreating\n" in printed
    assert f"{JOB} failed: the image of this training job has no JupyterLab; install the package" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--training", "chrn"], "mlops: there is no training job chrn; the stack has churn; did you mean churn?"),
        (["--training", "churn", "--minutes", "2000"], "mlops: Invalid value for '--minutes'"),
        (["--training", "churn", "--stop"], "mlops: no notebook of churn that "),
        (["--training", "churn", "--tracking-uri", "http://m"], "mlops: --training and --tracking-uri exclude each"),
        (["--stop"], "mlops: --stop needs --training NAME"),
        (["--minutes", "30"], "mlops: --minutes needs --training NAME"),
        (["--training", "churn", "--stop", "--dry-run"], "mlops: --stop and --dry-run exclude each other"),
    ],
)
def test_what_cannot_be_done_is_refused(world: World, mlops: Command, words: list[str], said: str) -> None:
    world.scenes([CHURN])
    code, printed = mlops("notebook", *words)
    assert (code, world.created) == (2, None)
    assert printed.startswith(said)
