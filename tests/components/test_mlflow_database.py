"""MLflow's connection to its database, as pods have it."""

import pytest

from tests.deployed import containers, environment, local
from tests.infra.foundations.test_aws import declared
from tests.recording import Recording, Resource

# The SDK imports its own deprecated modules.
pytestmark = pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")


@pytest.fixture(scope="module")
def aws() -> Recording:
    return declared()


def secret(recording: Recording, name: str) -> Resource:
    return recording.one(":Secret", name)


def test_mlflow_trusts_the_certificate_of_its_postgres_only() -> None:
    trusted = local().one(":ConfigMap", "mlflow-database-authority").inputs["data"]["ca.crt"]
    pair = secret(local(), "postgres-tls")
    assert trusted == pair.inputs["stringData"]["tls.crt"]
    assert "stringData" in pair.secrets or "stringData.tls.key" in pair.secrets
    for kind, name in ((":Deployment", "mlflow"), (":Job", "mlflow-migration")):
        pod = local().one(kind, name).spec["template"]["spec"]
        (volume,) = [each for each in pod["volumes"] if "configMap" in each]
        assert volume["configMap"]["name"].startswith("mlflow-database-authority")
        (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
        assert (
            f"sslrootcert={mount['mountPath']}/ca.crt"
            in (environment(pod["containers"][0])["MLFLOW_BACKEND_STORE_URI"])
        )


def test_on_aws_it_trusts_the_authority_of_the_region(aws: Recording) -> None:
    assert aws.one(":ConfigMap", "mlflow-database-authority").inputs["data"]["ca.crt"].startswith("-----BEGIN CERT")
    assert aws.one("rds/instance:Instance", "database").inputs["caCertIdentifier"] == "rds-ca-rsa2048-g1"


def test_only_the_container_that_makes_the_user_has_the_administrators_password(aws: Recording) -> None:
    administrator = secret(aws, "mlflow-database-administrator")
    name = f"{administrator.name}-0a1b2c3d"
    holders = [
        f"{kind} {container['name']}"
        for kind, workload in ((":Deployment", "mlflow"), (":Job", "mlflow-migration"))
        for container in containers(aws.one(kind, workload).spec["template"]["spec"])
        if name in str(container)
    ]
    assert holders == [":Job owner"]
    assert not {volume["name"] for volume in aws.one(":Deployment", "mlflow").spec["template"]["spec"]["volumes"]} & {
        "database-user"
    }


def test_mlflow_connects_as_a_user_whose_password_is_not_the_administrators(aws: Recording) -> None:
    (container,) = aws.one(":Deployment", "mlflow").spec["template"]["spec"]["containers"]
    assert "://mlflow_server@" in environment(container)["MLFLOW_BACKEND_STORE_URI"]
    passwords = [secret(aws, name) for name in ("mlflow", "mlflow-database-administrator")]
    assert all(each.secrets for each in passwords)
    user, administrator = (each.inputs["stringData"]["PGPASSWORD"] for each in passwords)
    assert user not in administrator
    assert administrator not in user


def test_a_local_stack_needs_no_administrator() -> None:
    assert len(containers(local().one(":Job", "mlflow-migration").spec["template"]["spec"])) == 1


def test_a_database_from_a_snapshot_is_migrated_and_gets_the_user_again(aws: Recording) -> None:
    annotations = aws.one(":Job", "mlflow-migration").spec["template"]["metadata"]["annotations"]
    assert annotations["mlops/database"] == "database-id"
    assert aws.one("rds/instance:Instance", "database").urn in aws.one(":Job", "mlflow-migration").dependencies
