"""A training run as a Job."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.deployed import deployed, environment, local
from tests.recording import Recording

GPU = {"training.churn.node_pool": "gpu"}


def job(recording: Recording) -> Mapping[str, Any]:
    return recording.one(":Job", "churn").spec


def pod(recording: Recording) -> Mapping[str, Any]:
    return job(recording)["template"]["spec"]


def values(recording: Recording) -> Mapping[str, Any]:
    return environment(pod(recording)["containers"][0])


def test_up_does_not_wait_for_it() -> None:
    annotations = local().one(":Job", "churn").metadata["annotations"]
    assert annotations == {"pulumi.com/skipAwait": "true"}


@pytest.mark.parametrize("key", ["deadline_minutes", "retries"])
def test_a_change_that_kubernetes_would_take_in_place_makes_a_new_job_as_well(key: str) -> None:
    resource = deployed({f"training.churn.{key}": 3}).one(":Job", "churn")
    assert resource.spec != job(local())
    assert resource.replace_on_changes == ("spec",)
    assert "name" not in resource.metadata, "old and new Job must be able to be there at once"


def test_it_stays_when_it_is_done() -> None:
    assert "ttlSecondsAfterFinished" not in job(local())


def test_it_ends_at_its_deadline() -> None:
    assert job(local())["activeDeadlineSeconds"] == 30 * 60


def test_a_bad_dataset_is_not_tried_again_and_a_lost_node_does_not_count() -> None:
    assert job(local())["backoffLimit"] == 1
    assert pod(local())["restartPolicy"] == "Never"
    lost, bad = job(local())["podFailurePolicy"]["rules"]
    assert lost == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert bad["action"] == "FailJob"
    assert bad["onExitCodes"] == {
        "containerName": pod(local())["containers"][0]["name"],
        "operator": "In",
        "values": [2],
    }


def test_it_runs_on_the_nodes_of_its_pool() -> None:
    assert pod(local())["nodeSelector"] == {"mlops/node-pool": "cpu"}
    assert not pod(local()).get("tolerations")
    assert "nvidia.com/gpu" not in pod(local())["containers"][0]["resources"]["limits"]


def test_on_a_gpu_pool_it_asks_for_a_gpu_and_is_let_onto_the_nodes() -> None:
    recording = deployed({**GPU, "training.churn.gpus": 2})
    assert pod(recording)["nodeSelector"] == {"mlops/node-pool": "gpu"}
    assert pod(recording)["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    resources = pod(recording)["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "2"


def test_parameters_of_every_kind_reach_the_image() -> None:
    given = {"n_estimators": 200, "rate": 0.5, "text": "0.001", "balanced": True}
    read = values(deployed({"training.churn.parameters": given, "training.churn.image": "lab.local/mine:1"}))
    assert json.loads(read["PARAMETERS"]) == given
    assert not {name.upper() for name in given} & set(read)


def test_it_trains_the_project_of_its_name_unless_it_names_another() -> None:
    assert values(local())["PROJECT"] == "churn"
    other = {"training.churn.project": "churn_boosted", "training.churn.parameters": {"num_leaves": 7}}
    assert values(deployed(other))["PROJECT"] == "churn_boosted"


def test_what_it_registers_can_be_traced_to_what_made_it() -> None:
    read = values(local())
    assert read["GIT_COMMIT"] == "0123456789abcdef0123456789abcdef01234567"
    assert read["IMAGE"] == pod(local())["containers"][0]["image"]
    assert read["STACK"] == "test"
    assert read["PULUMI_URN"] == local().one(":Job", "churn").urn
    assert read["TRAINING_JOB"] == "churn"
    assert read["NODE_POOL"] == "cpu"


def test_a_parameter_in_a_secret_is_a_reference_to_the_last() -> None:
    given = {"depth": 3, "api_key": {"secret": "geocoder", "key": "token"}}
    read = values(deployed({"training.churn.parameters": given, "training.churn.image": "lab.local/mine:1"}))
    assert json.loads(read["PARAMETERS"]) == {"depth": 3}
    assert read["PARAMETER_API_KEY"] == {"secretKeyRef": {"name": "geocoder", "key": "token"}}


def test_kubernetes_reads_no_variable_into_a_text() -> None:
    read = values(
        deployed({"training.churn.parameters": {"text": "$(HOME) $$ $5"}, "training.churn.image": "lab.local/mine:1"})
    )
    assert json.loads(read["PARAMETERS"].replace("$$", "$")) == {"text": "$(HOME) $$ $5"}
    assert "$$(HOME)" in read["PARAMETERS"]


def test_image_and_command_are_its_own_where_it_says_so() -> None:
    recording = deployed(
        {"training.churn.image": "lab.local/mine:1", "training.churn.command": ["python", "-m", "mine"]}
    )
    (container,) = pod(recording)["containers"]
    assert container["image"] == values(recording)["IMAGE"] == "lab.local/mine:1"
    assert container["command"] == ["python", "-m", "mine"]
    assert "GIT_COMMIT" not in values(recording), "it is not known from which commit that image was built"
    assert "command" not in pod(local())["containers"][0]


def test_it_runs_as_whom_it_names_and_with_the_priority_it_names() -> None:
    recording = deployed({"training.churn.service_account": "mine", "training.churn.priority_class": "high"})
    assert (pod(recording)["serviceAccountName"], pod(recording)["priorityClassName"]) == ("mine", "high")
    assert pod(local())["serviceAccountName"] == "training"
    assert "priorityClassName" not in pod(local())


def test_what_it_writes_to_disk_is_asked_for_and_capped() -> None:
    spec = pod(deployed({"training.churn.ephemeral_storage": "4096Mi"}))
    resources = spec["containers"][0]["resources"]
    assert resources["requests"]["ephemeral-storage"] == resources["limits"]["ephemeral-storage"] == "4Gi"
    assert spec["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}}]


def test_a_run_with_gpus_has_half_of_its_memory_as_shared_memory_and_knows_how_many_gpus_it_has() -> None:
    recording = deployed({**GPU, "training.churn.memory": "6Gi"})
    (container,) = pod(recording)["containers"]
    (shared,) = [volume for volume in pod(recording)["volumes"] if volume["name"] == "shared-memory"]
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "3Gi"}
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert values(recording)["GPUS"] == "1"
    assert "GPUS" not in values(local())


def test_shared_memory_is_as_large_as_the_job_says() -> None:
    (_, shared) = pod(deployed({"training.churn.shared_memory": "256Mi"}))["volumes"]
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "256Mi"}


def test_kueue_admits_the_jobs_of_a_queue_and_the_pods_have_no_label_of_it() -> None:
    recording = deployed({"training.churn.queue": "team-a"})
    job, template = recording.one(":Job", "churn"), recording.one(":CronJob", "churn")
    label = {"kueue.x-k8s.io/queue-name": "team-a"}
    assert label.items() <= job.inputs["metadata"]["labels"].items()
    assert label.items() <= template.inputs["spec"]["jobTemplate"]["metadata"]["labels"].items()
    assert not label.keys() & template.inputs["metadata"]["labels"].keys()


def test_a_run_knows_the_name_of_its_job() -> None:
    assert values(local())["JOB_NAME"] == {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}


def test_it_starts_when_mlflow_answers() -> None:
    assert local().one(":Deployment", "mlflow").urn in local().one(":Job", "churn").dependencies
