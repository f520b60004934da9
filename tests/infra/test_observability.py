"""Monitoring of a whole stack: what it declares, what it reads, and which connections it may open."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from components.endpoint.autoscaling import IN_FLIGHT
from contract import names
from infra import observability, program
from infra.config import stack
from monitoring import rules
from monitoring.boards import BOARDS
from tests.deployed import containers, local, pod_specs
from tests.infra.config.test_monitoring import CLUSTER, IMAGES, OPERATOR, RECEIVER
from tests.recording import Recording, Resource, record
from tests.stacks import SECRETS, changed

OBJECTIVES = {"availability": 99.9, "p95_ms": 100}
PROGRAMS = ("mlops-exporter", "mlops-prometheus", "mlops-alertmanager", "mlops-metrics-adapter")


KINDS = {
    "cluster": CLUSTER,
    "adapter": {**CLUSTER, "images": {**IMAGES, "metrics_adapter": "lab.local/adapter:1"}},
    "operator": {**OPERATOR, "labels": {"release": "prometheus"}},
}


@cache
def monitored(kind: str) -> Recording:
    """Return what the program declares with monitoring of one of KINDS and objectives of the endpoint."""
    config = changed({"monitoring": KINDS[kind], "endpoints.churn-predictor.objectives": OBJECTIVES})
    secrets = {**SECRETS, **({} if kind == "operator" else RECEIVER)}
    return record(lambda: program.deploy(stack.read()), config=config, secrets=secrets)


def config_map(recording: Recording, key: str) -> Any:
    """Return a file of the ConfigMap that has it."""
    (text,) = [each.inputs["data"][key] for each in recording.all(":ConfigMap") if key in each.inputs["data"]]
    return yaml.safe_load(text)


def policies(recording: Recording, rule: str) -> dict[str, set[tuple[str, int]]]:
    """Return, by program, the peers and ports of its NetworkPolicies in one direction."""
    found: dict[str, set[tuple[str, int]]] = {}
    for each in recording.all(":NetworkPolicy"):
        name = each.spec["podSelector"].get("matchLabels", {}).get(names.INSTANCE, "")
        if name in PROGRAMS:
            found[name] = {(peer, port["port"]) for flow in each.spec.get(rule, []) for peer in peers(flow)
                           for port in flow["ports"]}  # fmt: skip
    return found


def peers(flow: dict[str, Any]) -> list[str]:
    """Return the pods of a rule, by their label `instance` or a label's possible values; `anything` for no pods."""
    of = [each.get("podSelector", {}) for each in (*flow.get("to", ()), *flow.get("from", ()))]
    return [
        "+".join(pods["matchExpressions"][0]["values"])
        if "matchExpressions" in pods
        else pods.get("matchLabels", {}).get(names.INSTANCE, "anything")
        for pods in of
    ] or ["anything"]


@pytest.mark.parametrize("kind", KINDS)
def test_monitoring_changes_nothing_that_exists_without_it(kind: str) -> None:
    with_it = {each.urn: each.inputs for each in monitored(kind).resources}
    assert {each.urn: each.inputs for each in local().resources}.items() <= with_it.items()


def test_prometheus_evaluates_the_rules_of_the_stacks_objectives() -> None:
    found = config_map(monitored("cluster"), observability.RULES)
    alerts = {rule.get("alert") for group in found["groups"] for rule in group["rules"]}
    assert {"EndpointErrorBudgetFast", "EndpointSlow", "EndpointDown", "MlflowDown"} <= alerts
    (spec,) = [each.inputs["spec"] for each in monitored("operator").all(":PrometheusRule")]
    assert json.loads(json.dumps(spec)) == found


def test_prometheus_sends_alerts_to_the_service_of_the_alertmanager() -> None:
    config = config_map(monitored("cluster"), "prometheus.yml")
    (target,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    service = monitored("cluster").one(":Service", "mlops-alertmanager")
    assert target == f"{service.metadata['name']}:{service.spec['ports'][0]['port']}"


def test_the_pods_that_are_scraped_have_the_labels_and_the_port_that_prometheus_looks_for() -> None:
    jobs = {each["job_name"]: each for each in config_map(monitored("cluster"), "prometheus.yml")["scrape_configs"]}
    for job, workload in {"model-servers": "churn-predictor", "mlops-exporter": "mlops-exporter"}.items():
        deployment = monitored("cluster").one(":Deployment", workload)
        assert is_scraped(jobs[job], deployment.spec["template"]["metadata"]["labels"])
        ports = {
            port["name"] for each in containers(deployment.spec["template"]["spec"]) for port in each.get("ports", [])
        }
        assert jobs[job]["relabel_configs"][0]["regex"] in ports


def is_scraped(job: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a scrape job selects pods with these labels."""
    key, _, values = job["kubernetes_sd_configs"][0]["selectors"][0]["label"].partition(" in ")
    return labels.get(key) in values.strip("()").split(",")


def test_each_version_of_an_endpoint_with_a_router_is_scraped_and_so_is_the_router() -> None:
    config = changed({
        "monitoring": CLUSTER,
        "images.envoy": "lab.local/envoy:1",
        "endpoints.churn-predictor.prediction_log": {},
        "endpoints.churn-predictor.challenger": {"version": 2, "percent": 10, "key": "X-Customer", "experiment": "one"},
        "endpoints.churn-predictor.shadow": {"version": 3},
    })  # fmt: skip
    found = record(lambda: program.deploy(stack.read()), config=config, secrets={**SECRETS, **RECEIVER})
    jobs = {each["job_name"]: each for each in config_map(found, "prometheus.yml")["scrape_configs"]}
    pods = {each.name: each.spec["template"]["metadata"]["labels"] for each in found.all(":Deployment")}
    assert {name for name, labels in pods.items() if is_scraped(jobs["model-servers"], labels)} == {
        "churn-predictor", "churn-predictor-challenger", "churn-predictor-shadow",
    }  # fmt: skip
    assert [name for name, labels in pods.items() if is_scraped(jobs["model-routers"], labels)] == [
        "churn-predictor-router"
    ]
    (envoy,) = containers(found.one(":Deployment", "churn-predictor-router").spec["template"]["spec"])[1:]
    assert jobs["model-routers"]["relabel_configs"][0]["regex"] in {port["name"] for port in envoy["ports"]}


def test_each_program_opens_only_the_connections_that_it_needs() -> None:
    api = {("anything", 443), ("anything", 6443)}
    assert policies(monitored("cluster"), "egress") == {
        "mlops-exporter": {*api, ("mlflow", 5000), ("s3", 7070)},
        "mlops-prometheus": {
            *api,
            ("model-endpoint+model-challenger+model-shadow+model-router", 8081),
            ("mlops-exporter", 9464),
            ("mlops-alertmanager", 9093),
        },
        "mlops-alertmanager": {("anything", 80), ("anything", 443)},
    }
    assert policies(monitored("cluster"), "ingress") == {
        "mlops-exporter": {("mlops-prometheus", 9464)},
        "mlops-prometheus": set(),
        "mlops-alertmanager": {("mlops-prometheus", 9093)},
    }


def test_the_metrics_adapter_queries_prometheus_and_nothing_else_does() -> None:
    found = monitored("adapter")
    assert policies(found, "egress")["mlops-metrics-adapter"] == {
        ("anything", 443), ("anything", 6443), ("mlops-prometheus", 9090),
    }  # fmt: skip
    assert policies(found, "ingress")["mlops-prometheus"] == {("mlops-metrics-adapter", 9090)}
    (container,) = found.one(":Deployment", "mlops-metrics-adapter").spec["template"]["spec"]["containers"]
    assert "--prometheus-url=http://mlops-prometheus.mlops-platform:9090/" in container["args"]


def test_an_autoscaler_gets_the_metric_that_it_asks_for_from_the_metrics_adapter() -> None:
    found = monitored("adapter")
    (entry,) = found.all(":APIService")
    assert entry.metadata["name"] == "v1beta2.custom.metrics.k8s.io"
    service = found.one(":Service", entry.spec["service"]["name"])
    assert service.spec["ports"][0]["port"] == 443
    (rule,) = config_map(found, "config.json")["rules"]
    assert rule["seriesQuery"].startswith(f"{IN_FLIGHT}{{")


def test_without_its_image_no_metrics_adapter_takes_the_place_of_another() -> None:
    assert monitored("cluster").all(":APIService") == []


def test_mlflow_and_the_store_accept_the_exporter() -> None:
    into = {
        (each.spec["podSelector"]["matchLabels"].get("app.kubernetes.io/name", "mlflow"), port["port"])
        for each in monitored("cluster").all(":NetworkPolicy")
        for flow in each.spec.get("ingress", [])
        if "mlops-exporter" in peers(flow)
        for port in flow["ports"]
    }
    assert into >= {("mlflow", 5000), ("s3", 7070)}


AUTHENTICATED: Mapping[str, object] = {"tracking.authenticated": True, "images.envoy": "lab.local/envoy:1"}


@pytest.mark.parametrize(("kind", "scraper"), [("cluster", "mlops-prometheus"), ("operator", "anything")])
def test_the_metrics_of_an_mlflow_that_asks_who_you_are_are_open_to_the_scraper_alone(kind: str, scraper: str) -> None:
    config = changed({"monitoring": KINDS[kind], **AUTHENTICATED})
    secrets = {**SECRETS, **(RECEIVER if kind == "cluster" else {})}
    found = record(lambda: program.deploy(stack.read()), config=config, secrets=secrets)
    pod = found.one(":Deployment", "mlflow").spec["template"]
    (port,) = [
        port["containerPort"] for each in containers(pod["spec"]) for port in each.get("ports", [])
        if port["name"] == "metrics"
    ]  # fmt: skip
    flows = [
        flow
        for policy in found.all(":NetworkPolicy")
        if policy.spec["podSelector"].get("matchLabels") == names.TRACKING_PODS
        for flow in policy.spec.get("ingress", [])
    ]
    assert [peers(flow) for flow in flows if port in {each["port"] for each in flow["ports"]}] == [[scraper]]
    if kind == "cluster":
        job = next(
            each for each in config_map(found, "prometheus.yml")["scrape_configs"] if each["job_name"] == "mlflow"
        )
        assert is_scraped(job, pod["metadata"]["labels"])
        assert ("mlflow", port) in policies(found, "egress")["mlops-prometheus"]


def test_prometheus_of_another_namespace_may_scrape_the_exporter() -> None:
    assert policies(monitored("operator"), "ingress")["mlops-exporter"] == {("anything", 9464)}


def test_the_programs_read_objects_and_change_none_and_read_no_secret() -> None:
    roles: list[Resource] = [each for each in monitored("cluster").all("Role") if each.name.startswith(PROGRAMS)]
    assert {each.name for each in roles} == {
        *(f"mlops-exporter-{each}" for each in (names.PLATFORM, names.TRAINING, names.SERVING)),
        *(f"mlops-prometheus-{each}" for each in (names.PLATFORM, names.SERVING)),
        "mlops-exporter",
    }
    for each in roles:
        for rule in each.inputs["rules"]:
            assert set(rule["verbs"]) == {"get", "list", "watch"}
            assert "secrets" not in rule["resources"]
    (everywhere,) = [each for each in roles if each.type.endswith(":ClusterRole")]
    assert [rule["resources"] for rule in everywhere.inputs["rules"]] == [["nodes"]]


def test_the_receivers_address_is_in_a_secret_alone() -> None:
    address = RECEIVER["alert_receiver"]
    holders = [each for each in monitored("cluster").resources if address in str(each.inputs)]
    assert [(each.type, each.secrets) for each in holders] == [("kubernetes:core/v1:Secret", frozenset({"stringData"}))]


def test_pods_of_monitoring_are_hardened_and_limited() -> None:
    pods = {name.split()[1]: pod for name, pod in pod_specs(monitored("adapter")).items()}
    for program_name in PROGRAMS:
        assert pods[program_name]["securityContext"]["runAsNonRoot"]
        assert pods[program_name]["automountServiceAccountToken"] is False
        for each in containers(pods[program_name]):
            assert each["securityContext"]["readOnlyRootFilesystem"]
            assert each["resources"]["limits"]["memory"]


def test_the_series_of_prometheus_leave_room_on_the_volume() -> None:
    spec = monitored("cluster").one(":StatefulSet", "mlops-prometheus").spec
    (container,) = spec["template"]["spec"]["containers"]
    assert "--storage.tsdb.retention.size=16384MB" in container["args"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert "storageClassName" not in claim["spec"]


@pytest.mark.parametrize("kind", ["cluster", "operator"])
def test_every_board_is_a_config_map_that_grafanas_sidecar_finds(kind: str) -> None:
    found = [each for each in monitored(kind).all(":ConfigMap") if "grafana_dashboard" in each.metadata["labels"]]
    assert {json.loads(text)["title"] for each in found for text in each.inputs["data"].values()} == {
        board.title for board in BOARDS.values()
    }


def test_objects_of_the_operator_have_the_labels_that_prometheus_selects() -> None:
    objects = [*monitored("operator").all(":PodMonitor"), *monitored("operator").all(":PrometheusRule")]
    assert len(objects) == 5
    for each in objects:
        assert each.metadata["labels"]["release"] == "prometheus"


def test_a_schedule_is_watched_unless_it_is_suspended() -> None:
    def scheduled(**more: object) -> list[str]:
        config = changed({"monitoring": OPERATOR, "training.churn.schedule": {"cron": "0 3 * * 0", **more}})
        read: list[stack.Settings] = []
        record(lambda: read.append(stack.read()), config=config, secrets=SECRETS)
        return [each.expr for each in rules.alerts(observability.platform(read[0])) if each.alert == "TrainingLate"]

    (late,) = scheduled()
    assert late.endswith(f"> {2 * 7 * 86400}")
    assert scheduled(suspend=True) == []


@pytest.mark.parametrize(
    ("validation", "seconds"),
    [
        ({}, [(2 * 15 + 30) * 60]),
        ({"schedule": "0 * * * *", "deadline_minutes": 45}, [(2 * 60 + 45) * 60]),
        ({"enabled": False}, []),
    ],
)
def test_validations_are_late_after_two_pauses_and_a_deadline_unless_they_are_switched_off(
    validation: dict[str, object], seconds: list[int]
) -> None:
    read: list[stack.Settings] = []
    config = changed({"monitoring": OPERATOR, "training.churn.validation": validation})
    record(lambda: read.append(stack.read()), config=config, secrets=SECRETS)
    late = [each.expr for each in rules.alerts(observability.platform(read[0])) if each.alert == "ValidationLate"]
    assert [int(each.rpartition("> ")[2]) for each in late] == seconds
