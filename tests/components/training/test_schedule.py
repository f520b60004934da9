"""CronJob from which every run of a training job can be created."""

from collections.abc import Mapping
from typing import Any

from tests.deployed import deployed, environment, local
from tests.recording import Recording


def cron_job(recording: Recording) -> Mapping[str, Any]:
    return recording.one(":CronJob", "churn").spec


def run(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the spec of a Job with its environment by name and without its parent."""
    pod = spec["template"]["spec"]
    variables = {name: value for name, value in environment(pod["containers"][0]).items() if name != "PULUMI_URN"}
    return {
        **spec,
        "template": {**spec["template"], "spec": {**pod, "containers": [pod["containers"][0] | {"env": variables}]}},
    }


def test_without_a_schedule_it_is_suspended_and_makes_what_the_first_run_is() -> None:
    template = cron_job(local())
    assert template["suspend"] is True
    assert run(template["jobTemplate"]["spec"]) == run(local().one(":Job", "churn").spec)


def test_with_a_schedule_it_runs_then_and_not_at_once() -> None:
    schedule = {"cron": "0 3 * * 0", "time_zone": "Europe/Berlin", "keep_succeeded": 2, "keep_failed": 5}
    recording = deployed({"training.churn.schedule": schedule})
    spec = cron_job(recording)
    assert (spec["schedule"], spec["timeZone"], spec["suspend"]) == ("0 3 * * 0", "Europe/Berlin", False)
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (2, 5)
    assert [job.name for job in recording.all(":Job")] == ["mlflow-migration"]


def test_a_schedule_can_be_held() -> None:
    assert cron_job(deployed({"training.churn.schedule": {"cron": "@daily", "suspend": True}}))["suspend"] is True


def test_its_name_is_the_training_jobs_so_that_people_can_name_it() -> None:
    assert local().one(":CronJob", "churn").metadata["name"] == "churn"


def test_runs_made_from_it_say_that_pulumi_did_not_make_them() -> None:
    labels = cron_job(local())["jobTemplate"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "cronjob"
    assert labels["app.kubernetes.io/instance"] == "churn"


def test_a_run_is_tagged_with_the_urn_of_what_it_was_made_from() -> None:
    resource = local().one(":CronJob", "churn")
    (container,) = resource.spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert environment(container)["PULUMI_URN"] == resource.urn


def test_it_says_where_people_reach_mlflow() -> None:
    def told(recording: Recording) -> str:
        return recording.one(":CronJob", "churn").metadata["annotations"]["mlops/tracking-ui"]

    assert told(local()) == "http://localhost:5000"
    assert told(deployed({"tracking.allowed_hosts": []})) == "http://mlflow.mlops-platform:5000"


def test_a_change_of_where_people_reach_mlflow_trains_nothing_again() -> None:
    other = deployed({"tracking.allowed_hosts": ["mlflow.example"]})
    assert other.one(":Job", "churn").inputs == local().one(":Job", "churn").inputs
