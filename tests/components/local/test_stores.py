"""Local stores, which replace those of a cloud."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.deployed import deployed, environment, local


def pod(name: str) -> Mapping[str, Any]:
    return local().one(":StatefulSet", name).spec["template"]["spec"]


@pytest.mark.parametrize("name", ["postgres", "s3"])
def test_data_outlives_the_pod_and_its_stateful_set(name: str) -> None:
    resource = local().one(":StatefulSet", name)
    assert resource.metadata["name"] == name, "its volume is found again by this name"
    (claim,) = resource.spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert resource.spec["replicas"] == 1


def test_the_stack_file_sizes_the_volumes() -> None:
    recording = deployed({"foundation.storage_gib": 50})
    for name in ("postgres", "s3"):
        (claim,) = recording.one(":StatefulSet", name).spec["volumeClaimTemplates"]
        assert claim["spec"]["resources"]["requests"]["storage"] == "50Gi"


def test_postgres_takes_requests_when_it_takes_connections_over_the_network() -> None:
    (container,) = pod("postgres")["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"] == ["pg_isready", "--quiet", "--host=127.0.0.1"]
    assert container["livenessProbe"]["tcpSocket"] == {"port": 5432}


def test_postgres_has_its_password_from_a_secret() -> None:
    (container,) = pod("postgres")["containers"]
    reference = environment(container)["POSTGRES_PASSWORD"]["secretKeyRef"]
    assert reference["key"] == "password"
    assert reference["name"].startswith("postgres-")


def test_only_mlflow_reaches_postgres() -> None:
    (rule,) = local().one(":NetworkPolicy", "postgres").spec["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "tracking"}}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5432}]


def test_the_bucket_is_there_before_the_first_request() -> None:
    (container,) = pod("s3")["containers"]
    bucket = str(local().exports["artifacts"]).removeprefix("s3://")
    assert environment(container)["BUCKETS"] == bucket
    assert container["readinessProbe"]["httpGet"] == {"path": environment(container)["VGW_HEALTH"], "port": 7070}


def test_the_gateway_gets_its_accounts_from_a_secret_and_no_key_is_in_its_policy() -> None:
    (container,) = pod("s3")["containers"]
    given = environment(container)
    assert given["ACCOUNTS"]["secretKeyRef"]["key"] == "accounts"
    (secret,) = [each for each in local().all(":Secret") if "accounts" in each.inputs["stringData"]]
    assert "stringData.accounts" in secret.secrets or "stringData" in secret.secrets
    (validation,) = json.loads(secret.inputs["stringData"]["accounts"])["accessAccounts"].values()
    assert validation["role"] == "user"
    assert validation["secret"] not in given["BUCKET_POLICY"]


def test_mlflow_training_and_serving_alone_reach_the_artifacts() -> None:
    (rule,) = local().one(":NetworkPolicy", "s3").spec["ingress"]
    peers = [
        label
        for peer in rule["from"]
        for label in peer.get("podSelector", peer.get("namespaceSelector"))["matchLabels"].values()
    ]
    assert peers == ["tracking", "ml-training", "ml-serving"]


def test_each_workload_has_an_account_of_its_own_without_a_token() -> None:
    accounts = {account.metadata["name"]: account for account in local().all(":ServiceAccount")}
    assert {name: account.metadata["namespace"] for name, account in accounts.items()} == {
        "tracking": "mlops-platform",
        "training": "ml-training",
        "validation": "ml-training",
        "serving": "ml-serving",
    }
    assert {account.inputs["automountServiceAccountToken"] for account in accounts.values()} == {False}
