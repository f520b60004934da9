"""Drift jobs as the cluster sees them."""

from collections.abc import Mapping
from typing import Any

import pytest

from drift import job
from tests.deployed import deployed, environment, local
from tests.recording import Recording

ENDPOINT = "churn-predictor"
NAME = "churn-predictor-drift"
RETRAIN: Mapping[str, object] = {"training": "churn"}


def watched(more: Mapping[str, object] | None = None, **drift: object) -> Recording:
    """Return what the program declares for a stack with a drift job, and further keys of the endpoint."""
    endpoint = {"prediction_log": {}, "drift": drift, **(more or {})}
    return deployed({f"endpoints.{ENDPOINT}.{key}": value for key, value in endpoint.items()})


def pod(recording: Recording) -> Mapping[str, Any]:
    return recording.one(":CronJob", NAME).spec["jobTemplate"]["spec"]["template"]["spec"]


def options(recording: Recording) -> Any:
    """Return the options as the program in the container reads them."""
    (container,) = pod(recording)["containers"]
    assert container["command"] == ["python", "-m", "drift.job"]
    return job.parser().parse_args(container["args"])


def test_the_job_reads_what_the_stack_file_says() -> None:
    outcomes = "s3://mlops-artifacts/outcomes/churn/"
    keys = {"outcomes": {"folder": outcomes, "days": 14}, "retrain": {**RETRAIN, "after": 3, "at_most_every": "2d"}}
    read = options(watched(keys, window="7d", least_rows=900, false_alarms_per_year=2))
    assert (read.endpoint, read.model, read.version) == (ENDPOINT, ENDPOINT, 1)
    assert (read.log, read.hours) == ("s3://mlops-artifacts", 168)
    assert (read.least_rows, read.false_alarms_per_year) == (900, 2)
    assert (read.outcomes, read.outcomes_days) == (outcomes, 14)
    assert (read.training, read.after, read.pause_hours) == ("churn", 3, 48)
    assert read.reports == "s3://mlops-artifacts/validations/drift"


def test_the_job_has_the_training_image_and_every_hour_a_start_that_depends_on_its_name() -> None:
    spec = watched().one(":CronJob", NAME).spec
    assert (spec["schedule"], spec["suspend"], spec["concurrencyPolicy"]) == ("47 * * * *", False, "Forbid")
    (container,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "lab.local/training:1"
    assert environment(container)["MLFLOW_TRACKING_URI"] == "http://mlflow.mlops-platform:5000"


def test_the_schedule_and_the_pause_of_the_stack_file_are_those_of_the_cron_job() -> None:
    spec = watched(schedule="30 6 * * *", suspend=True).one(":CronJob", NAME).spec
    assert (spec["schedule"], spec["suspend"]) == ("30 6 * * *", True)


def test_a_job_that_trains_nothing_has_no_token_of_the_cluster_and_no_rights() -> None:
    recording = watched()
    assert [each["name"] for each in pod(recording)["volumes"]] == ["tmp"]
    for kind in (":Role", ":ValidatingAdmissionPolicy", ":NetworkPolicy"):
        assert not [each for each in recording.all(kind) if each.name == NAME]


def test_a_job_that_trains_may_create_jobs_from_the_template_of_its_training_job_only() -> None:
    recording = watched({"retrain": RETRAIN})
    rules = recording.one(":Role", NAME).inputs["rules"]
    assert [(rule["resources"], rule.get("resourceNames"), rule["verbs"]) for rule in rules] == [
        (["cronjobs"], ["churn"], ["get"]),
        (["jobs"], None, ["create", "get"]),
    ]
    policy = recording.one(":ValidatingAdmissionPolicy", NAME).spec
    (condition,) = policy["matchConditions"]
    account = "system:serviceaccount:ml-training:drift-churn-predictor"
    assert condition["expression"] == f"request.userInfo.username == '{account}'"
    assert 'object.spec.template.spec.?containers.orValue([])[0].?image.orValue("") == "lab.local/training:1"' in {
        each["expression"] for each in policy["validations"]
    }
    bound = recording.one(":ValidatingAdmissionPolicyBinding", NAME).spec
    assert bound["validationActions"] == ["Deny"]


def test_the_right_to_create_jobs_waits_for_the_policy_that_limits_it() -> None:
    recording = watched({"retrain": RETRAIN})
    bound = recording.one(":ValidatingAdmissionPolicyBinding", NAME)
    assert bound.urn in recording.one(":RoleBinding", NAME).dependencies
    assert recording.one(":RoleBinding", NAME).urn in recording.one(":CronJob", NAME).dependencies


def test_a_suspended_retraining_declares_no_right() -> None:
    recording = watched({"retrain": {**RETRAIN, "suspend": True}})
    assert options(recording).training == ""
    assert not [each for each in recording.all(":Role") if each.name == NAME]


def test_with_an_mlflow_that_asks_who_you_are_the_job_has_an_identity_of_its_own() -> None:
    changes = {"tracking.authenticated": True, "images.envoy": "lab.local/envoy:1"}
    keys: dict[str, object] = {f"endpoints.{ENDPOINT}.prediction_log": {}, f"endpoints.{ENDPOINT}.drift": {}}
    recording = deployed({**changes, **keys})
    spec = pod(recording)
    assert spec["serviceAccountName"] == "drift-churn-predictor"
    assert [each["name"] for each in spec["initContainers"]] == ["mlflow-proxy"]
    assert environment(spec["containers"][0])["MLFLOW_TRACKING_URI"] == "http://localhost:5000"
    (gateway,) = [each for each in recording.all(":ConfigMap") if each.name == "mlflow-gateway"]
    assert "system:serviceaccount:ml-training:drift-churn-predictor" in gateway.inputs["data"]["envoy.json"]
    (before,) = [each for each in deployed(changes).all(":ConfigMap") if each.name == "mlflow-gateway"]
    assert "drift-" not in before.inputs["data"]["envoy.json"]


def test_drift_jobs_reach_mlflow_and_the_store_and_no_policy_of_training_pods_widens_that() -> None:
    recording = watched()
    stores = recording.one(":NetworkPolicy", "ml-training-stores").spec["podSelector"]
    (expression,) = stores["matchExpressions"]
    assert (expression["operator"], set(expression["values"])) == ("NotIn", {"validation", "drift"})
    policy = recording.one(":NetworkPolicy", "ml-training-drift").spec
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/component": "drift"}}
    assert len(policy["egress"]) == 2


def test_a_job_with_retraining_reaches_the_api_server_too() -> None:
    policy = watched({"retrain": RETRAIN}).one(":NetworkPolicy", NAME).spec
    ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert ports == [443, 6443]
    labels = watched({"retrain": RETRAIN}).one(":CronJob", NAME).spec["jobTemplate"]["spec"]["template"]["metadata"]
    assert policy["podSelector"]["matchLabels"].items() <= labels["labels"].items()


@pytest.mark.parametrize("kind", [":NetworkPolicy", ":ServiceAccount", ":CronJob"])
def test_a_stack_without_drift_has_nothing_of_it(kind: str) -> None:
    assert not [each for each in local().all(kind) if "drift" in str(each.inputs)]
