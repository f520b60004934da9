"""Stack `local` with the real engine and recording plugins."""

import json
import os
from pathlib import Path

import pytest

from tests.projects import Engine, Project, Run
from tests.stacks import LOCAL, SECRETS

pytestmark = pytest.mark.engine
COMPLETE = {
    "metadata": {"generation": 2},
    "spec": {"replicas": 1},
    "status": {
        "observedGeneration": 2,
        "updatedReplicas": 1,
        "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
    },
}
"""Deployment whose rollout is complete, as kubectl prints it."""


@pytest.fixture(scope="module")
def deployed(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Run]:
    """Project and run of the stack's first `up`."""
    project = engine.our_program(tmp_path_factory.mktemp("local"), LOCAL, SECRETS)
    run = project.up()
    assert run.succeeded, run.output
    return project, run


def changed(project: Project, path: str, value: str) -> Run:
    """Preview a change by `pulumi config set`; restore the stack file afterwards."""
    file = project.folder / "Pulumi.test.yaml"
    before = file.read_text()
    project.pulumi("config", "set", "--path", f"mlops:{path}", value)
    run = project.preview()
    file.write_text(before)
    assert run.succeeded, run.output
    return run


def test_a_second_up_changes_nothing(deployed: tuple[Project, Run]) -> None:
    project, _ = deployed
    assert project.up("--expect-no-changes").succeeded


def test_a_release_updates_one_deployment_in_place_and_nothing_else(deployed: tuple[Project, Run]) -> None:
    run = changed(deployed[0], "endpoints.churn-predictor.version", "2")
    assert run.changes == {"churn-predictor": ["update"]}
    assert run.step("churn-predictor", "update").type == "kubernetes:apps/v1:Deployment"


def test_a_budget_changes_no_resource(deployed: tuple[Project, Run]) -> None:
    assert changed(deployed[0], "budget.month_usd", "1500.5").changes == {}


def test_a_change_of_a_deadline_trains_again_with_a_job_of_its_own(deployed: tuple[Project, Run]) -> None:
    run = changed(deployed[0], "training.churn.deadline_minutes", "20")
    assert run.changes.keys() == {"churn", "trainers-churn"}, "the policy has the deadline, too"
    assert run.step("churn", "update").type == "kubernetes:batch/v1:CronJob"
    first, *_ = [change for change in run.changes["churn"] if change != "update"]
    assert first == "create-replacement", "the old Job goes when the new one is there"


def test_updates_of_deployments_are_confirmed_with_kubectl_and_end_even_one_resource_at_a_time(
    deployed: tuple[Project, Run], tmp_path: Path
) -> None:
    project, _ = deployed
    file, path = project.folder / "Pulumi.test.yaml", project.environment["PATH"]
    before = file.read_text()
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\necho $4 >> {tmp_path}/asked\necho '{json.dumps(COMPLETE)}'\n")
    (tmp_path / "kubectl").chmod(0o755)
    project.environment["PATH"] = f"{tmp_path}{os.pathsep}{path}"
    for image in ("serving", "tracking"):
        project.pulumi("config", "set", "--path", f"mlops:images.{image}", f"lab.local/{image}:another2")
    run = project.up("--parallel", "1")
    assert run.succeeded, run.output
    assert run.changes.keys() >= {"mlflow", "churn-predictor"}
    assert "kubectl could not confirm" not in run.messages("warning")
    assert len((tmp_path / "asked").read_text().splitlines()) == 2
    project.environment["PATH"] = path
    file.write_text(before)
    assert project.up().succeeded


def test_an_update_that_needs_a_deleted_namespace_names_the_remedy(
    deployed: tuple[Project, Run],
) -> None:
    project, _ = deployed
    file = project.folder / "Pulumi.test.yaml"
    before = file.read_text()
    project.pulumi("config", "set", "--path", "mlops:training.churn.deadline_minutes", "20")
    refused = 'was not successfully created by the Kubernetes API server: namespaces "ml-training" not found'
    project.environment["MLOPS_RECORDING_ORDERS"] = json.dumps({"kubernetes:batch/v1:Job::churn": {"fail": refused}})
    run = project.up()
    assert not run.succeeded
    assert "namespaces/ml-training is missing in the cluster, because it was deleted outside Pulumi" in run.messages()
    assert run.messages().count("run pulumi up --refresh") == 1
    del project.environment["MLOPS_RECORDING_ORDERS"]
    file.write_text(before)
    assert project.up().succeeded


def test_no_secret_is_in_the_state_in_clear(deployed: tuple[Project, Run]) -> None:
    state = str(deployed[0].state())
    assert not [secret for secret in SECRETS.values() if secret in state]


def test_the_namespaces_go_when_everything_in_them_is_gone(deployed: tuple[Project, Run]) -> None:
    project, _ = deployed
    run = project.destroy()
    assert run.succeeded, run.output
    gone = [step.type.rpartition(":")[2] for step in run.steps if step.type.startswith("kubernetes:")]
    in_no_namespace = {"ClusterRole", "ClusterRoleBinding", "PriorityClass"}
    assert in_no_namespace <= set(gone)
    assert [kind for kind in gone if kind not in in_no_namespace][-3:] == ["Namespace"] * 3
    assert project.state() == []
