"""`mlops notebook --training`: the Job of the pod, and the notebooks that are copied there and back."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import pool_notebook
from contract import names
from runs.declared import Declared
from tests.command import Command
from tests.runs.conftest import world
from tests.runs.world import World, container, ended, failed, job, pod, template

__all__ = ["world"]

CHURN = template()
JOB, POD = "churn-notebook-x7k2p", "churn-notebook-x7k2p-aaaaa"
TOKEN = {"name": pool_notebook.TOKEN, "value": "0f"}


def notebook(**status: Any) -> dict[str, Any]:
    """Return the Job of a notebook as the cluster has it."""
    made = job(CHURN, name=JOB, **status)
    made["metadata"]["labels"] |= names.NOTEBOOKS
    made["spec"]["activeDeadlineSeconds"] = 7200
    made["spec"]["template"]["spec"]["containers"][0]["env"].append(TOKEN)
    return made


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
    assert not {"JOB_NAME"} & {entry["name"] for entry in ours["env"]}
    assert not names.TRAINING_JOBS.items() <= made["metadata"]["labels"].items()
    assert "ownerReferences" not in made["metadata"]


def test_notebooks_go_to_the_pod_and_come_back_and_a_file_that_changed_on_both_sides_is_kept(jupyter: World) -> None:
    jupyter.scenes([CHURN], [CHURN], RUNNING)
    here, there = jupyter.folder / "churn-notebook", jupyter.folder / "pod"
    here.mkdir()
    for name in ("same", "mine"):
        (here / f"{name}.ipynb").write_text(name)
    (there / "mine.ipynb").write_text("of the pod")
    printed = connected(jupyter.folder, "notebooks are copied")
    assert (there / "same.ipynb").read_text() == "same"
    assert "lab?token=" in printed
    assert "mine.ipynb changed on this machine too; the pod's copy is churn-notebook/mine.pod.ipynb" in printed
    assert {file.name: file.read_text() for file in here.glob("*.ipynb")} == {
        "same.ipynb": "same", "mine.ipynb": "mine", "mine.pod.ipynb": "of the pod",
    }  # fmt: skip
    assert "churn-notebook-x7k2p continues until " in printed
    assert "end it with: mlops notebook --training churn --stop" in printed


def test_a_second_command_connects_to_the_notebook_that_runs(jupyter: World) -> None:
    jupyter.scenes(RUNNING)
    (jupyter.folder / "pod" / "made.ipynb").write_text("made there")
    printed = connected(jupyter.folder, "notebooks are copied")
    assert printed.startswith(f"{JOB} runs already; it ends at 14:00 UTC")
    assert "/lab?token=0f\n" in printed
    assert jupyter.created is None
    assert (jupyter.folder / "churn-notebook" / "made.ipynb").read_text() == "made there"
    (jupyter.folder / "pod" / "made.ipynb").write_text("changed there, while no command ran")
    connected(jupyter.folder, "notebooks are copied")
    assert (jupyter.folder / "churn-notebook" / "made.ipynb").read_text() == "changed there, while no command ran"


def test_stop_copies_the_notebooks_and_ends_the_pod(
    jupyter: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(jupyter.folder)
    jupyter.scenes(RUNNING)
    (jupyter.folder / "pod" / "made.ipynb").write_text("made there")
    assert mlops("notebook", "--training", "churn", "--stop") == (0, f"{JOB} is ended\n")
    assert (jupyter.folder / "churn-notebook" / "made.ipynb").read_text() == "made there"
    assert (jupyter.folder / "deleted").read_text() == f"job {JOB}"


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
        (["--training", "churn", "--stop"], "mlops: no notebook of churn runs; start one with: mlops notebook"),
        (["--training", "churn", "--tracking-uri", "http://m"], "mlops: --training and --tracking-uri exclude each"),
        (["--stop"], "mlops: --stop needs --training NAME"),
    ],
)
def test_what_cannot_be_done_is_refused(world: World, mlops: Command, words: list[str], said: str) -> None:
    world.scenes([CHURN])
    code, printed = mlops("notebook", *words)
    assert (code, world.created) == (2, None)
    assert printed.startswith(said)
