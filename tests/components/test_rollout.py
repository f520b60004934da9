"""A Deployment that does not become ready in time says why, and a failed release is rolled back to ready pods."""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi import ErrorHookArgs

from components import timeouts
from components.rollout import (
    REVISION,
    Rollout,
    RolloutError,
    confirm,
    handle,
    previous_revision,
    reasons,
    unready_deployment,
)
from infra.config import stack
from tests.deployed import deployed, local
from tests.infra.config.test_two_versions import VALID
from tests.stacks import changed

ASKED = {"endpoints.churn-predictor.rollback_on_failure": True}
NO_SUCH_VERSION = "ml-serving/churn has no version 99; versions that exist: 1, 2"
FETCH_FAILED = {
    "name": "fetch",
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
    "lastState": {"terminated": {"exitCode": 2, "reason": "Error", "message": NO_SUCH_VERSION + "\n"}},
}
RUNNING: Mapping[str, Any] = {"running": {}}
INITIALIZING = {"name": "server", "state": {"waiting": {"reason": "PodInitializing"}}}


def replica_set(revision: int, ready: int, **status: object) -> dict[str, Any]:
    return {
        "kind": "ReplicaSet",
        "metadata": {"name": f"churn-{revision}", "annotations": {REVISION: str(revision)}},
        "status": {"replicas": ready, **({"readyReplicas": ready} if ready else {}), **status},
    }


def pod(revision: int, **status: object) -> dict[str, Any]:
    owners = [{"name": f"churn-{revision}"}]
    return {"kind": "Pod", "metadata": {"name": f"churn-{revision}-x", "ownerReferences": owners}, "status": status}


def deployment(progressing: str, reason: str) -> dict[str, Any]:
    condition = {"type": "Progressing", "status": progressing, "reason": reason}
    return {"kind": "Deployment", "metadata": {"name": "churn"}, "status": {"conditions": [condition]}}


STUCK = [
    deployment("False", "ProgressDeadlineExceeded"),
    replica_set(7, 2),
    replica_set(8, 0),
    pod(7, containerStatuses=[{"name": "server", "state": RUNNING, "ready": True}]),
    pod(8, initContainerStatuses=[FETCH_FAILED], containerStatuses=[INITIALIZING]),
]


def rollout(*, deadline_seconds: int | None = 55, roll_back: bool = False) -> Rollout:
    return Rollout(
        name="churn",
        namespace="ml-serving",
        selector={"app.kubernetes.io/instance": "churn"},
        deadline_seconds=deadline_seconds,
        roll_back=roll_back,
    )


@pytest.mark.parametrize(
    ("revisions", "before"),
    [
        ({7: 2, 8: 0}, 7),
        ({7: 1, 8: 1}, 7),  # the second pod of a release failed
        ({6: 2, 7: 0, 8: 0}, 6),  # the failure before this one was never rolled back
        ({9: 2, 10: 0}, 9),
        ({8: 2}, None),
        ({8: 0}, None),
        ({7: 0, 8: 2}, None),
        ({}, None),
    ],
)
def test_the_revision_before_is_the_latest_that_answers_and_did_not_fail(
    revisions: dict[int, int], before: int | None
) -> None:
    assert previous_revision([replica_set(revision, ready) for revision, ready in revisions.items()]) == before


def test_the_reason_is_the_last_line_of_the_init_container() -> None:
    assert reasons(STUCK) == [f"container fetch ended with exit code 2: {NO_SUCH_VERSION}"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}]},
            "pod cannot be scheduled: 0/2 nodes are available",
        ),
        (
            {
                "containerStatuses": [
                    {"name": "mlflow", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
                ]
            },
            "container mlflow waits: no such image",
        ),
        (
            {
                "containerStatuses": [
                    {"name": "mlflow", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
                ]
            },
            "container mlflow ended with exit code 137: OOMKilled",
        ),
        (
            {"containerStatuses": [{"name": "mlflow", "state": RUNNING, "ready": False, "started": False}]},
            "container mlflow runs and has not answered its startup probe",
        ),
    ],
)
def test_each_kind_of_failure_has_its_reason(status: Mapping[str, Any], reason: str) -> None:
    assert reasons([replica_set(8, 0), pod(8, **status), pod(8, **status)]) == [reason]


def test_pods_that_the_quota_refuses_are_the_reason_when_there_is_no_pod() -> None:
    refused = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: ml-serving"}]
    assert reasons([replica_set(8, 0, conditions=refused)]) == ["no pod can be made: exceeded quota: ml-serving"]
    assert reasons([]) == []


def test_without_kubectl_the_stack_is_refused_before_anything_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pulumi.RunError, match="rollback_on_failure needs kubectl, and it is not on PATH"):
        deployed(ASKED)


def test_every_deployment_that_pulumi_waits_for_tells_its_reason() -> None:
    hooks = {resource.name: resource.error_hooks for resource in local().all(":Deployment")}
    assert {name for name, several in hooks.items() if "rollout" in several} == {"mlflow", "churn-predictor"}


def test_all_deployments_of_an_endpoint_with_a_challenger_tell_their_reason_and_are_rolled_back_together() -> None:
    changes = deepcopy({**VALID, **ASKED})
    hooks = {each.name for each in deployed(changes).all(":Deployment") if "rollout" in each.error_hooks}
    endpoint = stack.parse(changed(changes)).endpoints["churn-predictor"]
    assert hooks == {"mlflow", *endpoint.deployments("churn-predictor")}
    assert len(hooks) == 5


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fake kubectl with the ready revision 7 and revision 8; the fixture is the file of its other commands."""
    asked = tmp_path / "asked"
    (tmp_path / "listed.json").write_text(json.dumps({"items": STUCK}))
    program = tmp_path / "kubectl"
    program.write_text(
        f"""#!/bin/bash
        case "$*" in
          *" get "*) cat {tmp_path}/listed.json;;
          *) echo "$*" >> {asked}; [ "$1" != --kubeconfig ] || cat "$2" >> {asked};;
        esac
        """
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return asked


def test_the_cluster_of_the_stack_is_asked_and_not_that_of_the_moments_context(kubectl: Path) -> None:
    assert not handle(rollout(roll_back=True), "ours", None)
    assert (
        kubectl.read_text() == "--context ours --namespace ml-serving rollout undo deployment/churn --to-revision=7\n"
    )


def test_a_cluster_that_this_program_made_is_reached_by_its_own_kubeconfig(kubectl: Path) -> None:
    handle(rollout(roll_back=True), None, "{made}")
    command, file = kubectl.read_text().splitlines()
    assert command.endswith("--namespace ml-serving rollout undo deployment/churn --to-revision=7")
    assert file == "{made}"


def test_a_release_is_only_taken_back_where_that_is_asked_for(kubectl: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert not handle(rollout(), "ours", None)
    assert not kubectl.exists()
    assert f"churn: container fetch ended with exit code 2: {NO_SUCH_VERSION}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("reported", "deadline_seconds", "waits_again"),
    [
        (deployment("True", "ReplicaSetUpdated"), 55, True),
        (deployment("True", "ReplicaSetUpdated"), None, False),  # Kubernetes' own deadline is 10 minutes
        (deployment("True", "NewReplicaSetAvailable"), 55, False),
        (deployment("False", "ProgressDeadlineExceeded"), 55, False),
    ],
)
def test_a_rollout_that_goes_on_is_waited_for_and_not_taken_back(
    reported: dict[str, Any], deadline_seconds: int | None, waits_again: bool, kubectl: Path
) -> None:
    kubectl.with_name("listed.json").write_text(json.dumps({"items": [reported, *STUCK[1:]]}))
    assert handle(rollout(deadline_seconds=deadline_seconds, roll_back=True), "ours", None) == waits_again
    assert kubectl.exists() != waits_again


def test_a_cluster_that_does_not_answer_costs_a_warning_and_not_the_reason_of_the_failure(
    kubectl: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kubectl.with_name("kubectl").write_text("#!/bin/bash\necho the server is away >&2; exit 1\n")
    assert not handle(rollout(roll_back=True), "ours", None)
    said = capfd.readouterr().err
    assert "churn: the reason of its pods could not be read with kubectl: the server is away" in said


def test_a_first_release_that_fails_stays_as_there_is_nothing_before_it(kubectl: Path) -> None:
    kubectl.with_name("listed.json").write_text(json.dumps({"items": [replica_set(1, 0)]}))
    handle(rollout(roll_back=True), "ours", None)
    assert not kubectl.exists()


def status(progressing: dict[str, Any], **more: object) -> dict[str, Any]:
    """Return a Deployment of generation 9 whose autoscaler has asked for two pods."""
    return {
        **progressing,
        "metadata": {"name": "churn", "generation": 9},
        "spec": {"replicas": 2},
        "status": {**progressing["status"], "observedGeneration": 9, **more},
    }


FORMER = status(deployment("True", "NewReplicaSetAvailable"), replicas=1, readyReplicas=1)
"""Status when Kubernetes has seen the new number of pods and not yet begun the rollout of the new template."""
BEGUN = status(deployment("True", "ReplicaSetUpdated"), replicas=2, updatedReplicas=1)
ENDED = status(deployment("True", "NewReplicaSetAvailable"), replicas=2, updatedReplicas=2)
FAILED = status(deployment("False", "ProgressDeadlineExceeded"), replicas=2, updatedReplicas=1)


def answer_in_turn(kubectl: Path, *deployments: dict[str, Any]) -> None:
    """Let the first call of kubectl print the first Deployment, the next call the next; all further calls the last."""
    folder = kubectl.parent
    for number, one in enumerate(deployments):
        (folder / f"turn-{number}.json").write_text(json.dumps(one))
    kubectl.with_name("kubectl").write_text(
        f"""#!/bin/bash
        case "$*" in
          *" get deployment "*)
            for turn in {folder}/turn-*.json; do break; done
            cat $turn; [ $turn = {folder}/turn-{len(deployments) - 1}.json ] || rm $turn;;
          *" get "*) cat {folder}/listed.json;;
          *) echo "$*" >> {kubectl};;
        esac
        """
    )


def test_an_update_ends_when_the_new_pods_are_ready_even_if_the_status_is_still_that_of_the_former(
    kubectl: Path,
) -> None:
    answer_in_turn(kubectl, FORMER, BEGUN, ENDED)
    confirm(rollout(roll_back=True), "ours", None, every_seconds=0)
    assert not kubectl.exists()
    assert [file.name for file in kubectl.parent.glob("turn-*")] == ["turn-2.json"]


def test_an_update_that_the_plugin_called_ready_too_early_fails_with_the_reason_and_is_rolled_back(
    kubectl: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer_in_turn(kubectl, FORMER, FAILED)
    with pytest.raises(RolloutError, match="churn: the rollout was not complete within its progress deadline"):
        confirm(rollout(roll_back=True), "ours", None, every_seconds=0)
    assert f"churn: container fetch ended with exit code 2: {NO_SUCH_VERSION}" in capfd.readouterr().err
    assert kubectl.read_text().endswith("rollout undo deployment/churn --to-revision=7\n")


def test_a_paused_deployment_fails_the_update_with_the_command_that_ends_the_pause(kubectl: Path) -> None:
    answer_in_turn(kubectl, {**FORMER, "spec": {"replicas": 2, "paused": True}})
    with pytest.raises(RolloutError, match=r"paused \(`kubectl rollout resume` ends that\)"):
        confirm(rollout(), "ours", None, every_seconds=0)


@pytest.fixture
def _late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the limit of a rollout be over at once."""
    monkeypatch.setattr(timeouts, "MARGIN_SECONDS", -55)


@pytest.mark.usefixtures("_late")
def test_a_controller_that_does_not_begin_within_the_deadline_fails_the_update(kubectl: Path) -> None:
    answer_in_turn(kubectl, FORMER)
    with pytest.raises(RolloutError, match="was not complete within its progress deadline"):
        confirm(rollout(), "ours", None, every_seconds=0)


@pytest.mark.usefixtures("_late")
def test_a_rollout_with_progress_may_take_longer_than_one_deadline(kubectl: Path) -> None:
    answer_in_turn(kubectl, BEGUN, BEGUN, ENDED)
    confirm(rollout(), "ours", None, every_seconds=0)


def test_every_deployment_that_pulumi_waits_for_is_confirmed_after_an_update() -> None:
    hooks = {each.name: each.update_hooks for each in local().all(":Deployment")}
    assert {name for name, several in hooks.items() if "rollout-complete" in several} == {"mlflow", "churn-predictor"}


def test_a_deployment_without_pods_is_complete(kubectl: Path) -> None:
    answer_in_turn(kubectl, {**FORMER, "spec": {"replicas": 0}})
    confirm(rollout(), "ours", None, every_seconds=0)


def test_an_update_whose_rollout_cannot_be_confirmed_is_not_failed_for_that(
    kubectl: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kubectl.with_name("kubectl").write_text("#!/bin/bash\necho the server is away >&2; exit 1\n")
    confirm(rollout(), "ours", None, every_seconds=0)
    assert "churn: kubectl could not confirm the rollout: the server is away" in capfd.readouterr().err


DECLARED = {
    "metadata": {"name": "churn", "namespace": "ml-serving"},
    "spec": {"selector": {"matchLabels": {"app.kubernetes.io/instance": "churn"}}, "progressDeadlineSeconds": 55},
}


@pytest.mark.parametrize(
    ("operation", "error", "rolled_back"),
    [
        ("update", "2 errors occurred: 'churn' timed out waiting to be Ready", True),
        ("create", "2 errors occurred: 'churn' timed out waiting to be Ready", False),
        ("delete", "2 errors occurred: 'churn' timed out waiting to be Ready", None),
        ("update", "Server-Side Apply field conflict detected", None),  # nothing was changed
        ("update", 'Resource operation was cancelled for "churn"', None),
    ],
)
def test_only_an_update_that_came_to_the_cluster_and_did_not_become_ready_is_taken_back(
    operation: str, error: str, rolled_back: bool | None
) -> None:
    args = ErrorHookArgs(
        "urn", "id", "churn", "Deployment", DECLARED, failed_operation=operation, errors=[error, "an earlier one"]
    )
    found = unready_deployment(args, ["churn"])
    assert found == (None if rolled_back is None else rollout(roll_back=rolled_back))
    assert not found or unready_deployment(args, []) == rollout()
