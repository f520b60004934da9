"""MLflow server as users and operators see it."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from components.mlflow_server import allowed_hosts
from tests.deployed import deployed, environment, local
from tests.mlflow_server import Server
from tests.recording import Resource


def deployment() -> Resource:
    return local().one(":Deployment", "mlflow")


def migration() -> Resource:
    return local().one(":Job", "mlflow-migration")


def test_every_name_of_the_service_is_answered_with_its_port_and_without() -> None:
    hosts = allowed_hosts(["localhost:5000"]).split(",")
    for name in (
        "mlflow",
        "mlflow.mlops-platform",
        "mlflow.mlops-platform.svc",
        "mlflow.mlops-platform.svc.cluster.local",
        "mlflow-server",
    ):
        assert name in hosts
        assert f"{name}:5000" in hosts
    assert hosts[-1] == "localhost:5000"
    assert "*" not in "".join(hosts)


def test_the_host_in_its_own_address_is_answered() -> None:
    hosts = environment(deployment().spec["template"]["spec"]["containers"][0])["MLFLOW_SERVER_ALLOWED_HOSTS"].split(
        ","
    )
    assert str(local().exports["tracking"]).removeprefix("http://") in hosts
    assert "localhost:5000" in hosts


def test_the_name_that_tutorials_use_is_mlflows_in_the_namespace_of_training() -> None:
    alias = local().one(":Service", "mlflow-server")
    assert alias.metadata["namespace"] == "ml-training"
    assert alias.spec["externalName"] == "mlflow.mlops-platform.svc.cluster.local"


@pytest.mark.long
def test_a_version_whose_files_lie_outside_the_bucket_is_not_registered(tmp_path: Path) -> None:
    """The variable is the one of the pod."""
    name = "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX"
    pattern = environment(deployment().spec["template"]["spec"]["containers"][0])[name]
    server = Server(tmp_path, "s3://mlops-artifacts/mlflow", {name: pattern})
    server.start()
    try:
        client = MlflowClient(server.uri, server.uri)
        client.create_registered_model("churn")
        for source in (
            "s3://stranger/x",
            "s3://mlops-artifacts-2/x",
            "s3://mlops-artifacts",
            "file:///etc",
            "/etc",
            "x",
        ):
            with pytest.raises(MlflowException, match="Invalid model version source"):
                client.create_model_version("churn", source)
        client.create_model_version("churn", "s3://mlops-artifacts/mlflow/1/models/m-1/artifacts")
        logged = client.create_logged_model(client.create_experiment("e"))
        client.create_model_version("churn", f"models:/{logged.model_id}", model_id=logged.model_id)
        client.create_model_version("churn", "models:/churn/1")
        client.register_prompt("greeting", "Hello {{name}}")
    finally:
        server.kill()


def test_the_schema_is_migrated_before_a_server_starts() -> None:
    assert migration().urn in deployment().dependencies
    container = migration().spec["template"]["spec"]["containers"][0]
    assert container["command"] == ["mlflow", "db", "upgrade", "$(MLFLOW_BACKEND_STORE_URI)"]
    assert container["image"] == deployment().spec["template"]["spec"]["containers"][0]["image"]
    assert "pulumi.com/skipAwait" not in migration().metadata.get("annotations", {})


def test_a_migration_gives_up_before_the_engine_does() -> None:
    assert migration().spec["activeDeadlineSeconds"] < 600
    assert "name" not in migration().metadata, "a fixed name would have to be deleted before the next one is made"


def test_the_database_is_reached_over_tls_with_a_password_that_is_in_no_address() -> None:
    for workload in (deployment(), migration()):
        values = environment(workload.spec["template"]["spec"]["containers"][0])
        assert values["MLFLOW_BACKEND_STORE_URI"] == (
            "postgresql+psycopg2://mlflow@postgres.mlops-platform:5432/mlflow"
            "?sslmode=verify-full&sslrootcert=/etc/database-authority/ca.crt"
        )
        assert values["PGPASSWORD"]["secretKeyRef"]["key"] == "PGPASSWORD"


def test_artifacts_do_not_pass_through_the_server() -> None:
    values = environment(deployment().spec["template"]["spec"]["containers"][0])
    assert values["MLFLOW_SERVE_ARTIFACTS"] == "false"
    assert values["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == "s3://mlops-artifacts/mlflow"


def test_its_job_queue_is_off() -> None:
    values = environment(deployment().spec["template"]["spec"]["containers"][0])
    assert values["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_it_is_never_down_for_an_update_or_a_drained_node() -> None:
    assert deployment().spec["replicas"] == 2
    assert deployment().spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budget = local().one(":PodDisruptionBudget", "mlflow").spec
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment().spec["selector"]
    pod = deployment().spec["template"]["spec"]
    assert {rule["topologyKey"] for rule in pod["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    drain = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > drain


def test_it_takes_requests_when_it_is_healthy_and_is_restarted_when_it_is_not() -> None:
    container = deployment().spec["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": 5000}


def test_only_servers_are_behind_the_service() -> None:
    selector = local().one(":Service", "mlflow").spec["selector"].items()
    assert selector <= deployment().spec["template"]["metadata"]["labels"].items()
    assert not selector <= migration().spec["template"]["metadata"]["labels"].items()


def test_the_stack_file_sizes_it() -> None:
    recording = deployed({"tracking.replicas": 3, "tracking.workers": 2, "tracking.memory": "2Gi"})
    spec = recording.one(":Deployment", "mlflow").spec
    container = spec["template"]["spec"]["containers"][0]
    assert spec["replicas"] == 3
    assert environment(container)["MLFLOW_WORKERS"] == "2"
    assert container["resources"]["limits"] == {"memory": "2Gi"}
