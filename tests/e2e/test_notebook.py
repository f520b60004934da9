"""A notebook on a node pool of the lab. The lab's training image has no JupyterLab, so its pod ends at once."""

import re
import subprocess

import pytest

from tests.e2e.conftest import LAB, Platform, fresh_shell, training_jobs

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

MLOPS = LAB.with_name("mlops")


def mlops(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MLOPS, *arguments], env=fresh_shell(), capture_output=True, text=True, timeout=300, check=False
    )


def test_a_notebook_in_an_image_without_jupyterlab_ends_with_the_reason_and_is_no_run_of_the_training(
    platform: Platform,
) -> None:
    platform.lab("up", timeout=3000)
    before = {job["metadata"]["name"] for job in training_jobs(platform, "churn")}
    ended = mlops("notebook", "--training", "churn", "--minutes", "5", "--no-browser")
    made = {job["metadata"]["name"]: job for job in training_jobs(platform, "churn")}
    assert len(made.keys() - before) == 1, ended
    (name,) = made.keys() - before
    try:
        assert ended.returncode == 1, ended
        assert re.match(rf"{name} is started; it ends at \d\d:\d\d UTC\n", ended.stdout)
        assert f"{name} failed: the image of this training job has no JupyterLab" in ended.stderr
        assert made[name]["spec"]["activeDeadlineSeconds"] == 300
        assert made[name]["status"]["failed"] == 1
        assert "ownerReferences" not in made[name]["metadata"]

        listed = mlops("runs", "--name", "churn")
        assert listed.returncode == 0, listed
        assert "notebook" not in listed.stdout
        stopped = mlops("notebook", "--training", "churn", "--stop")
        assert stopped.returncode == 2
        assert "no notebook of churn that " in stopped.stderr
    finally:
        platform.kubectl("delete", "job", name, "-n", "ml-training")
