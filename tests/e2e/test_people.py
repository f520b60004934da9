"""Rights of people as the API server decides them, in the lab, where an administrator takes their groups."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from contract import jobs, names

from .conftest import Platform

pytestmark = pytest.mark.e2e

READ, FORWARD = f"list pods {names.TRAINING}", f"create pods/portforward {names.PLATFORM}"
TRAIN, LOGS = f"create jobs.batch {names.TRAINING}", f"get pods/log {names.TRAINING}"
DELETE, RESTART = f"delete pods {names.SERVING}", f"patch deployments.apps {names.SERVING}"
SCALE = f"patch deployments.apps/scale {names.SERVING}"
SECRETS, ENTER = f"get secrets {names.TRAINING}", f"create pods/exec {names.SERVING}"
OTHERS = f"delete pods {names.PLATFORM}"
EVERYTHING = {READ, FORWARD, TRAIN, LOGS, DELETE, RESTART, SCALE, SECRETS, ENTER, OTHERS}
RIGHTS = {
    names.VIEWERS: {READ, FORWARD},
    names.TRAINERS: {READ, FORWARD, TRAIN, LOGS},
    names.ONCALL: {READ, FORWARD, LOGS, DELETE, RESTART, SCALE},
    names.ADMINS: EVERYTHING,
    "strangers": set[str](),
}


@pytest.mark.parametrize("group", RIGHTS)
def test_a_person_may_do_what_the_group_may_and_nothing_else(platform: Platform, group: str) -> None:
    def may(request: str) -> bool:
        verb, resource, namespace = request.split()
        kind, _, subresource = resource.partition("/")
        what = (verb, kind, f"--subresource={subresource}", "-n", namespace)
        asked = ("auth", "can-i", *what, "--as", "ada", "--as-group", group)
        return platform.lab("kubectl", *asked, check=False).returncode == 0

    assert {request for request in EVERYTHING if may(request)} == RIGHTS[group]


def test_a_trainer_creates_jobs_of_the_declared_templates_and_no_others(platform: Platform, tmp_path: Path) -> None:
    template = platform.get("cronjob", "churn", "-n", names.TRAINING)
    job = jobs.from_cron_job(template, name={"name": "of-a-trainer"}, made_by="runs", annotations={})
    validation = platform.get("cronjob", names.validation("churn"), "-n", names.TRAINING)
    version = jobs.from_cron_job(validation, name={"name": "of-a-trainer"}, made_by="runs", annotations={})
    version["spec"]["template"]["spec"]["containers"][0]["args"] = ["1"]

    def refusal(made: dict[str, Any], *groups: str) -> str:
        (tmp_path / "job.json").write_text(json.dumps(made))
        words = ("create", "--dry-run=server", "-f", str(tmp_path / "job.json"))
        roles = [word for group in groups for word in ("--as-group", group)]
        return platform.lab("kubectl", *words, "--as", "ada", *roles, check=False).stderr

    assert refusal(job, names.TRAINERS) == refusal(version, names.TRAINERS) == ""
    pod = job["spec"]["template"]["spec"]
    for part, change in {
        "service account name": {"serviceAccountName": "validation"},
        "train.image": {"containers": [{**pod["containers"][0], "image": "example.com/mine:1"}]},
        "train.env": {"containers": [{**pod["containers"][0], "env": [{"name": "DATASET", "value": "s3://other/x"}]}]},
    }.items():
        changed = deepcopy(job)
        changed["spec"]["template"]["spec"] |= change
        assert f"the pod is not that of the template ({part})" in refusal(changed, names.TRAINERS)
        assert refusal(changed, names.TRAINERS, names.ADMINS) == ""
    # The API server gives a Job without labels those of its pods.
    job["metadata"]["labels"] |= {names.INSTANCE: "another"}
    assert "trainers create Jobs of the stack's templates" in refusal(job, names.TRAINERS)
