"""Identities with which clients ask MLflow, as a stack declares them."""

from functools import cache
from typing import Any

from components import mlflow_gateway
from components.mlflow_identities import PROXY
from tests.deployed import deployed, environment, local, pod_specs
from tests.recording import Recording

KEYS = {"images.envoy": "lab.local/envoy:1", "tracking.authenticated": True}


@cache
def authenticated() -> Recording:
    return deployed(KEYS)


def proxy(pod: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in pod["initContainers"] if one["name"] == name]
    assert found["restartPolicy"] == "Always", "it runs beside the other containers"
    return found


def test_the_image_alone_changes_nothing() -> None:
    before, after = (
        {one.urn: one.inputs for one in recording.resources}
        for recording in (local(), deployed({"images.envoy": "lab.local/envoy:1"}))
    )
    assert before == after


def test_mlflow_has_no_port_that_goes_around_its_gateway() -> None:
    pod = pod_specs(authenticated())["Deployment mlflow"]
    (server,) = pod["containers"]
    assert server["command"][-1] == f"--uds {mlflow_gateway.SOCKET}"
    assert "ports" not in server
    assert [port["containerPort"] for port in proxy(pod, "gateway")["ports"]] == [5000, mlflow_gateway.METRICS_PORT]
    folders = [{mount["mountPath"] for mount in one["volumeMounts"]} for one in (server, proxy(pod, "gateway"))]
    assert "/run/mlflow" in folders[0] & folders[1]


def test_only_the_gateway_has_a_token_of_the_cluster() -> None:
    pod = pod_specs(authenticated())["Deployment mlflow"]
    assert mlflow_gateway.TOKENS not in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert pod["automountServiceAccountToken"] is False


def test_runs_and_validations_ask_at_localhost_where_a_proxy_adds_the_pods_own_token() -> None:
    pods = pod_specs(authenticated())
    for name in ("Job churn", "CronJob churn", "CronJob churn-validation"):
        pod = pods[name]
        assert environment(pod["containers"][0])["MLFLOW_TRACKING_URI"] == "http://localhost:5000"
        (token,) = [volume for volume in pod["volumes"] if volume["name"] == "token"]
        (source,) = token["projected"]["sources"]
        assert source["serviceAccountToken"] == {"path": "token", "audience": "mlflow", "expirationSeconds": 600}
        assert pod["initContainers"][0] == proxy(pod, PROXY), "it starts before all others"


def test_serving_pods_get_no_token_for_mlflow() -> None:
    pod = pod_specs(authenticated())["Deployment churn-predictor"]
    assert pod == pod_specs(local())["Deployment churn-predictor"]


def test_people_get_tokens_of_the_accounts_that_suit_their_group_and_of_no_others() -> None:
    rights = {
        (role.inputs["rules"][0]["resourceNames"][0], subject["name"])
        for role in authenticated().all(":Role")
        if role.inputs["rules"][0]["resources"] == ["serviceaccounts/token"]
        for binding in authenticated().all(":RoleBinding")
        if binding.inputs["roleRef"]["name"] == role.metadata["name"]
        for subject in binding.inputs["subjects"]
    }
    readers = {"mlops-viewers", "mlops-trainers", "mlops-oncall", "mlops-previewers"}
    assert rights == {
        *(("mlflow-people", group) for group in readers),
        ("mlflow-promoter", "mlops-oncall"),
        ("training", "mlops-trainers"),
    }
