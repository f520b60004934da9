"""Timeouts of Pulumi are a little longer than the deadlines of the objects."""

from tests.deployed import deployed, local
from tests.recording import Recording


def seconds(recording: Recording, kind: str, name: str) -> dict[str, int]:
    declared = recording.one(f":{kind}", name).timeouts
    return {operation: int(limit.removesuffix("s")) for operation, limit in declared.items()}


def test_whatever_pulumi_waits_for_has_a_limit_of_its_own() -> None:
    recording = deployed({"endpoints.churn-predictor.replicas": {"min": 2, "max": 4}})
    awaited = [
        resource
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "Service", "Ingress", "PersistentVolumeClaim")
        for resource in recording.all(f":{kind}")
        if resource.metadata.get("annotations", {}).get("pulumi.com/skipAwait") != "true"
    ]
    assert {resource.name for resource in awaited} == {
        "mlflow",
        "churn-predictor",
        "postgres",
        "s3",
        "mlflow-migration",
    }
    assert all(resource.timeouts.keys() >= {"create", "update"} for resource in awaited)


def test_a_release_that_fails_is_known_within_a_minute_of_its_own_deadline() -> None:
    for least, startup in ((1, 45), (2, 45), (4, 45), (2, 120)):
        recording = deployed(
            {
                "endpoints.churn-predictor.replicas": {"min": least, "max": 20},
                "endpoints.churn-predictor.startup_seconds": startup,
            }
        )
        deadline = recording.one(":Deployment", "churn-predictor").spec["progressDeadlineSeconds"]
        limits = seconds(recording, "Deployment", "churn-predictor")
        assert deadline < limits["update"] == limits["create"] <= deadline + 60


def test_more_pods_and_bigger_models_are_waited_for_longer() -> None:
    def of(least: int, mib: int) -> int:
        changes = {"replicas": {"min": least, "max": 12}, "model_mib": mib, "memory": "16Gi"}
        recording = deployed({f"endpoints.churn-predictor.{key}": value for key, value in changes.items()})
        return seconds(recording, "Deployment", "churn-predictor")["update"]

    assert of(1, 20) < of(10, 20) < of(10, 10_000)


def test_a_pod_that_drains_is_waited_for_until_it_has_ended() -> None:
    recording = deployed(
        {"endpoints.churn-predictor.drain_seconds": 300, "endpoints.churn-predictor.prediction_log": {}}
    )
    pod = recording.one(":Deployment", "churn-predictor").spec["template"]["spec"]
    limits = seconds(recording, "Deployment", "churn-predictor")
    assert limits["delete"] > pod["terminationGracePeriodSeconds"]


def test_the_migrations_own_deadline_comes_first_so_that_the_job_says_why() -> None:
    migration = local().one(":Job", "mlflow-migration")
    assert seconds(local(), "Job", "mlflow-migration")["create"] > migration.spec["activeDeadlineSeconds"]


def test_a_store_may_end_start_and_get_its_volume_within_its_limit() -> None:
    for store in ("postgres", "s3"):
        pod = local().one(":StatefulSet", store).spec["template"]["spec"]
        probe = pod["containers"][0]["startupProbe"]
        starts = probe["periodSeconds"] * probe["failureThreshold"]
        limits = seconds(local(), "StatefulSet", store)
        assert limits["create"] > starts
        assert limits["update"] > starts + pod["terminationGracePeriodSeconds"]
