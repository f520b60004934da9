"""Objects of an endpoint with a challenger and a shadow."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.deployed import deployed, environment, local
from tests.recording import Recording

NAME = "churn-predictor"
CHALLENGER = {"version": 2, "percent": 10, "key": "X-Customer-Id", "experiment": "trees"}
LOGGED: Mapping[str, Any] = {"images.envoy": "lab.local/envoy:1", f"endpoints.{NAME}.prediction_log": {}}
ROLES = {NAME: "champion", f"{NAME}-challenger": "challenger", f"{NAME}-shadow": "shadow"}


@pytest.fixture(scope="module")
def three() -> Recording:
    return deployed(
        {
            **LOGGED,
            f"endpoints.{NAME}.challenger": CHALLENGER,
            f"endpoints.{NAME}.shadow": {"version": 3, "percent": 20},
        }
    )


def template(recording: Recording, name: str) -> Mapping[str, Any]:
    return recording.one(":Deployment", name).spec["template"]


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_the_service_finds_the_router_and_the_pods_of_an_endpoint_without_one_but_no_pod_behind_a_router(
    three: Recording,
) -> None:
    selector = three.one(":Service", NAME).spec["selector"]
    assert selects(selector, template(three, f"{NAME}-router")["metadata"]["labels"])
    assert selects(selector, template(local(), NAME)["metadata"]["labels"])
    assert not [name for name in ROLES if selects(selector, template(three, name)["metadata"]["labels"])]


def test_without_a_router_the_service_finds_the_pods_that_a_router_had_and_no_router(three: Recording) -> None:
    selector = local().one(":Service", NAME).spec["selector"]
    assert selects(selector, template(three, NAME)["metadata"]["labels"])
    assert not selects(selector, template(three, f"{NAME}-router")["metadata"]["labels"])
    assert not selects(selector, template(three, f"{NAME}-challenger")["metadata"]["labels"])


def test_pods_leave_the_service_after_the_router_is_ready_and_the_router_after_the_pods_are_back(
    three: Recording,
) -> None:
    service, router = three.one(":Service", NAME), three.one(":Deployment", f"{NAME}-router")
    assert service.urn in router.dependencies
    assert {three.one(":Deployment", f"{NAME}-{role}").urn for role in ("challenger", "shadow")} <= router.dependencies
    assert router.urn in three.one(":Deployment", NAME).dependencies
    assert local().one(":Deployment", NAME).urn in local().one(":Service", NAME).dependencies


def test_each_role_has_pods_of_its_own_a_dns_name_an_autoscaler_and_a_disruption_budget(three: Recording) -> None:
    for name, role in ROLES.items():
        labels = template(three, name)["metadata"]["labels"]
        host = three.one(":Service", f"{NAME}-{role}").spec
        assert host["clusterIP"] == "None"
        assert [
            other for other in ROLES if selects(host["selector"], template(three, other)["metadata"]["labels"])
        ] == [name]
        assert selects(three.one(":PodDisruptionBudget", name).spec["selector"]["matchLabels"], labels)
        assert three.one(":HorizontalPodAutoscaler", name).spec["scaleTargetRef"]["name"] == name


def test_each_role_serves_the_files_of_its_own_version_and_knows_role_and_callers(three: Recording) -> None:
    for version, (name, role) in enumerate(ROLES.items(), 1):
        pod = template(three, name)["spec"]
        server = environment(pod["containers"][0])
        assert server["MODEL_VERSION"] == str(version)
        assert environment(pod["initContainers"][0])["MODEL_SOURCE"] == f"s3://mlops-artifacts/{NAME}/{version}"
        assert (server["MODEL_ROLE"], server["UNIT_HEADER"]) == (role, "X-Customer-Id")
        salt = three.one(":Secret", f"{NAME}-unit")
        assert server["UNIT_SALT"]["secretKeyRef"] == {"name": f"{NAME}-unit-0a1b2c3d", "key": "salt"}
        assert salt.secrets == {"data"}
        assert salt.ignore_changes == ("data",)


def test_a_challenger_has_pods_of_its_own_number_and_size_where_the_stack_file_says_so() -> None:
    own = {"replicas": {"min": 1, "max": 9}, "cpu": "500m", "memory": "2Gi"}
    changes = {f"endpoints.{NAME}.challenger": {**CHALLENGER, **own}, f"endpoints.{NAME}.shadow": {"version": 3}}
    recording = deployed({**LOGGED, **changes})
    for name, most, requests in (
        (NAME, 3, {"cpu": "100m", "memory": "1Gi"}),
        (f"{NAME}-challenger", 9, {"cpu": "500m", "memory": "2Gi"}),
        (f"{NAME}-shadow", 3, {"cpu": "100m", "memory": "1Gi"}),
    ):
        assert recording.one(":HorizontalPodAutoscaler", name).spec["maxReplicas"] == most
        (server,) = template(recording, name)["spec"]["containers"]
        assert server["resources"]["requests"].items() >= requests.items()


def test_a_shadow_alone_needs_no_key(three: Recording) -> None:
    shadow = deployed({**LOGGED, f"endpoints.{NAME}.shadow": {"version": 3}})
    assert not [secret for secret in shadow.all(":Secret") if secret.name.endswith("-unit")]
    assert "UNIT_HEADER" not in environment(template(shadow, NAME)["spec"]["containers"][0])
    assert three.one(":Secret", f"{NAME}-unit")


def test_pods_behind_a_router_accept_requests_until_the_router_knows_that_they_stop(three: Recording) -> None:
    (server,) = template(three, NAME)["spec"]["containers"]
    assert server["lifecycle"]["preStop"]["exec"]["command"][-1].endswith("sleep 10")


def test_a_changed_share_rolls_the_routers_and_no_model(three: Recording) -> None:
    more = deployed(
        {
            **LOGGED,
            f"endpoints.{NAME}.challenger": {**CHALLENGER, "percent": 50},
            f"endpoints.{NAME}.shadow": {"version": 3, "percent": 20},
        }
    )
    changed = {one.name for one in more.all(":Deployment") if one.spec != three.one(":Deployment", one.name).spec}
    assert changed == {f"{NAME}-router"}


AUTH = {"issuer": "https://login.example.com/", "audience": "churn", "jwks": "https://login.example.com:8443/keys"}


@pytest.fixture(scope="module")
def guarded() -> Recording:
    return deployed(
        {
            "images.envoy": "lab.local/envoy:1",
            f"endpoints.{NAME}.auth": AUTH,
            "endpoints.open": {"version": 1, "model": NAME, "replicas": {"min": 1, "max": 2}},
        }
    )


def test_pods_of_an_endpoint_with_tokens_accept_requests_from_its_router_and_from_validations_only(
    guarded: Recording,
) -> None:
    pod, router = (template(guarded, name)["metadata"]["labels"] for name in (NAME, f"{NAME}-router"))
    everybody = guarded.one(":NetworkPolicy", "ml-serving-requests").spec["podSelector"]["matchExpressions"]
    assert everybody == [{"key": "mlops/requests", "operator": "DoesNotExist"}]
    assert "mlops/requests" in pod
    assert "mlops/requests" not in router
    assert "mlops/requests" not in template(guarded, "open")["metadata"]["labels"]
    guard = guarded.one(":NetworkPolicy", f"{NAME}-guard").spec
    assert selects(guard["podSelector"]["matchLabels"], pod)
    requests, probes = guard["ingress"]
    assert [port["port"] for port in requests["ports"]] == [8080]
    routers, validations = requests["from"]
    assert selects(routers["podSelector"]["matchLabels"], router)
    assert "namespaceSelector" not in routers
    assert validations["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "validation"}
    assert [port["port"] for port in probes["ports"]] == [8081]
    assert "from" not in probes


def test_the_policy_exists_before_the_pods_and_a_validation_bypasses_the_router(guarded: Recording) -> None:
    assert (
        guarded.one(":NetworkPolicy", f"{NAME}-guard").urn in guarded.one(":Deployment", f"{NAME}-router").dependencies
    )
    validation = guarded.one(":CronJob", "churn-validation").spec["jobTemplate"]["spec"]["template"]["spec"]
    assert environment(validation["containers"][0])["ENDPOINT"] == f"http://{NAME}-champion.ml-serving:8080"


def test_routers_reach_the_server_of_the_keys_and_none_if_the_keys_are_in_the_stack_file(guarded: Recording) -> None:
    assert guarded.one(":NetworkPolicy", f"{NAME}-router").spec["egress"][1:] == [
        {"ports": [{"port": 8443, "protocol": "TCP"}]}
    ]
    keys = '{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB"}]}'
    inside = deployed({"images.envoy": "lab.local/envoy:1", f"endpoints.{NAME}.auth": {**AUTH, "jwks": keys}})
    assert len(inside.one(":NetworkPolicy", f"{NAME}-router").spec["egress"]) == 1


def test_an_endpoint_without_tokens_is_as_before() -> None:
    assert not [policy for policy in local().all(":NetworkPolicy") if policy.name.endswith("-guard")]
    assert local().one(":NetworkPolicy", "ml-serving-requests").spec["podSelector"] == {}
