"""Endpoint as clients and operators see it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.deployed import deployed, environment, local
from tests.recording import Recording

NAME = "churn-predictor"
RELEASE = {f"endpoints.{NAME}.version": 2}


def spec(recording: Recording, kind: str = "Deployment") -> Mapping[str, Any]:
    return recording.one(f":{kind}", NAME).spec


def pod(recording: Recording) -> Mapping[str, Any]:
    return spec(recording)["template"]["spec"]


def server(recording: Recording) -> Mapping[str, Any]:
    (container,) = pod(recording)["containers"]
    return container


def fetch(recording: Recording) -> Mapping[str, Any]:
    (container,) = pod(recording)["initContainers"]
    return container


def test_it_fetches_the_version_of_the_stack_file_and_serves_that() -> None:
    recording = deployed({f"endpoints.{NAME}.version": 7})
    assert fetch(recording)["command"] == ["python", "-m", "model_server.fetch"]
    for container in (fetch(recording), server(recording)):
        assert environment(container)["MODEL"] == NAME
        assert environment(container)["MODEL_VERSION"] == "7"
        assert environment(container)["MODEL_DIR"] == "/model"


def test_an_image_that_the_stack_file_names_runs_in_every_container_of_the_pods() -> None:
    own = "lab.local/serving:own-1"
    recording = deployed({f"endpoints.{NAME}.image": own, f"endpoints.{NAME}.prediction_log": {}})
    containers = [*pod(recording)["initContainers"], *pod(recording)["containers"]]
    assert {container["image"] for container in containers} == {own}
    assert server(local())["image"] == "lab.local/serving:1"


def test_the_version_is_written_on_pods_and_history_and_is_in_no_selector() -> None:
    deployment = local().one(":Deployment", NAME)
    assert deployment.metadata["annotations"]["kubernetes.io/change-cause"] == f"{NAME} version 1"
    assert deployment.spec["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == "1"
    for selector in (
        spec(local())["selector"]["matchLabels"],
        spec(local(), "Service")["selector"],
        spec(local(), "PodDisruptionBudget")["selector"]["matchLabels"],
    ):
        assert selector == {"app.kubernetes.io/name": "model-endpoint", "app.kubernetes.io/instance": NAME}


def test_a_release_never_has_fewer_pods_that_answer() -> None:
    """Check that an update in place replaces pods one by one, each after a new pod is ready."""
    before, after = (recording.one(":Deployment", NAME) for recording in (local(), deployed(RELEASE)))
    assert after.spec["template"] != before.spec["template"]
    assert after.metadata["name"] == before.metadata["name"]
    assert after.replace_on_changes == ()
    rolling = after.spec["strategy"]["rollingUpdate"]
    assert rolling["maxUnavailable"] == 0
    assert rolling["maxSurge"] > 0
    assert all("readinessProbe" in container for container in after.spec["template"]["spec"]["containers"])


def test_a_version_that_does_not_start_fails_the_rollout_within_a_minute() -> None:
    assert spec(local())["progressDeadlineSeconds"] <= 60
    probe = server(local())["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] <= spec(local())["progressDeadlineSeconds"]


def test_a_model_that_is_meant_to_refuse_its_example_is_served_with_a_warning() -> None:
    asked = deployed({f"endpoints.{NAME}.example": "warn"})
    assert environment(server(asked))["EXAMPLE"] == "warn"
    assert "EXAMPLE" not in environment(server(local()))


def test_a_big_model_gets_the_time_it_needs() -> None:
    recording = deployed({f"endpoints.{NAME}.startup_seconds": 600})
    probe = server(recording)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 600
    assert spec(recording)["progressDeadlineSeconds"] > 600


def test_the_time_to_start_follows_from_the_size_of_the_model() -> None:
    recording = deployed({f"endpoints.{NAME}.model_mib": 2000, f"endpoints.{NAME}.memory": "4Gi"})
    assert server(recording)["startupProbe"]["failureThreshold"] == 45 + 100


def test_a_leaving_pod_answers_until_everybody_knows_and_finishes_what_it_began() -> None:
    recording = deployed({f"endpoints.{NAME}.drain_seconds": 20})
    assert server(recording)["lifecycle"]["preStop"]["exec"]["command"] == [
        "/bin/sh",
        "-c",
        "kill -USR1 1; sleep 20",
    ]
    longest_request = int(environment(server(recording))["DRAIN_SECONDS"])
    assert longest_request > int(environment(server(recording))["DEADLINE_SECONDS"])
    assert pod(recording)["terminationGracePeriodSeconds"] > 20 + longest_request


def test_the_number_of_pods_follows_the_load_between_min_and_max() -> None:
    recording = deployed({f"endpoints.{NAME}.replicas": {"min": 3, "max": 20}})
    scaling = spec(recording, "HorizontalPodAutoscaler")
    assert scaling["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert (scaling["minReplicas"], scaling["maxReplicas"]) == (3, 20)
    metrics = [metric["containerResource"] for metric in scaling["metrics"]]
    assert {metric["name"]: metric["target"]["averageUtilization"] for metric in metrics} == {"cpu": 70, "memory": 80}
    assert {metric["container"] for metric in metrics} == {"server"}
    assert "replicas" not in spec(recording), "the autoscaler's number would be undone by every up"


def test_the_number_of_pods_rises_at_once_and_falls_slowly() -> None:
    behavior = spec(local(), "HorizontalPodAutoscaler")["behavior"]
    up, down = behavior["scaleUp"], behavior["scaleDown"]
    assert (up["stabilizationWindowSeconds"], down["stabilizationWindowSeconds"]) == (0, 300)
    rates = [{p["type"]: p["value"] / p["periodSeconds"] for p in way["policies"]} for way in (up, down)]
    assert all(rates[0][kind] > 4 * rates[1][kind] for kind in ("Percent", "Pods"))


def test_what_the_number_of_pods_follows_is_the_stack_files() -> None:
    asked = {"cpu_percent": 50, "memory_percent": None, "in_flight": 8, "scale_down_stabilization_seconds": 60}
    scaling = spec(deployed({f"endpoints.{NAME}.autoscaling": asked}), "HorizontalPodAutoscaler")
    assert scaling["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60
    cpu, in_flight = scaling["metrics"]
    target = {"type": "Utilization", "averageUtilization": 50}
    assert cpu["containerResource"] == {"name": "cpu", "container": "server", "target": target}
    assert in_flight["pods"]["target"] == {"type": "AverageValue", "averageValue": "8"}


@pytest.mark.parametrize(("cpu", "threads"), [("100m", 2), (2, 2), ("2500m", 3), (8, 8)])
def test_as_many_predictions_run_at_a_time_as_the_pod_asks_for_cpus(cpu: object, threads: int) -> None:
    recording = deployed({f"endpoints.{NAME}.cpu": cpu})
    assert environment(server(recording))["THREADS"] == str(threads)


def test_a_drained_node_takes_one_pod_at_a_time_and_is_never_blocked() -> None:
    budget = spec(local(), "PodDisruptionBudget")
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_pods_spread_over_zones_and_nodes_where_there_are_several() -> None:
    constraints = pod(local())["topologySpreadConstraints"]
    assert [rule["topologyKey"] for rule in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {rule["whenUnsatisfiable"] for rule in constraints} == {"ScheduleAnyway"}


def test_a_pod_gets_requests_when_it_answers_and_none_when_it_does_not() -> None:
    """Check that probes have a port of their own, which clients of the endpoint cannot fill with connections."""
    values = environment(server(local()))
    probed, served = int(values["PROBE_PORT"]), int(values["PORT"])
    assert probed != served
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server(local())[probe]["httpGet"]["port"] == probed
    assert {port["containerPort"] for port in server(local())["ports"]} == {probed, served}


def test_requests_reach_pods_of_this_release_and_of_the_last_one_under_one_port() -> None:
    """Check that the Service sends requests to port 8080, as always, so that a rolling update loses none."""
    requests, metrics = spec(local(), "Service")["ports"]
    assert (requests["port"], requests["targetPort"]) == (80, 8080)
    assert environment(server(local()))["PORT"] == "8080"
    assert str(metrics["targetPort"]) == environment(server(local()))["PROBE_PORT"]


def test_the_server_knows_no_store_and_no_credentials() -> None:
    assert "envFrom" not in server(local())
    assert not {name for name in environment(server(local())) if name.startswith(("AWS_", "MLFLOW_"))}
    assert fetch(local())["envFrom"][0]["secretRef"]["name"].startswith("serving-artifact-store-")


def test_the_model_lies_on_a_bounded_disk_that_the_server_cannot_write() -> None:
    volumes = {volume["name"]: volume for volume in pod(local())["volumes"]}
    assert volumes["model"]["emptyDir"]["sizeLimit"] == server(local())["resources"]["limits"]["memory"]
    mounts = {mount["mountPath"]: mount for mount in server(local())["volumeMounts"]}
    assert mounts["/model"]["readOnly"] is True


@pytest.mark.parametrize("host", ["collector.observability", "collector.observability.svc.cluster.local"])
def test_a_traced_endpoint_reaches_its_collector_and_no_other_does(host: str) -> None:
    recording = deployed({f"endpoints.{NAME}.tracing": {"endpoint": f"http://{host}:4318"}})
    policy = recording.one(":NetworkPolicy", f"{NAME}-tracing")
    assert policy.metadata["namespace"] == "ml-serving"
    assert policy.spec == {
        "podSelector": {"matchLabels": spec(recording)["selector"]["matchLabels"]},
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}],
                "ports": [{"protocol": "TCP", "port": 4318}],
            }
        ],
    }
    assert not [policy for policy in local().all(":NetworkPolicy") if "tracing" in policy.name]
    assert not [name for name in environment(server(local())) if name.startswith("OTEL_")]


LOGGED = {f"endpoints.{NAME}.prediction_log": {"sample": 0.5, "redact": ["name", "e$mail"], "spool_mib": 64}}


@pytest.fixture(scope="module")
def logged() -> Recording:
    return deployed(LOGGED)


def shipper(recording: Recording) -> Mapping[str, Any]:
    _, container = pod(recording)["initContainers"]
    return container


def test_predictions_are_logged_where_the_stack_file_says_so(logged: Recording) -> None:
    assert "PREDICTION_LOG_DIR" not in environment(server(local()))
    values = environment(server(logged))
    assert values["PREDICTION_LOG_SAMPLE"] == "0.5"
    assert json.loads(values["PREDICTION_LOG_REDACT"].replace("$$", "$")) == ["e$mail", "name"]
    assert int(values["PREDICTION_LOG_SPOOL_BYTES"]) == 64 << 20


def test_the_log_is_taken_away_by_a_container_that_outlives_the_server(logged: Recording) -> None:
    assert shipper(logged)["restartPolicy"] == "Always"
    assert shipper(logged)["command"] == ["python", "-m", "model_server.prediction_log.ship"]
    more = pod(logged)["terminationGracePeriodSeconds"] - pod(local())["terminationGracePeriodSeconds"]
    assert more > float(environment(shipper(logged))["PREDICTION_LOG_DRAIN_SECONDS"])


def test_only_what_ships_the_log_knows_the_store(logged: Recording) -> None:
    assert "envFrom" not in server(logged)
    assert not {name for name in environment(server(logged)) if name.startswith("AWS_")}
    assert shipper(logged)["envFrom"] == fetch_of(logged)["envFrom"]
    assert environment(shipper(logged))["AWS_ENDPOINT_URL_S3"] == environment(fetch_of(logged))["AWS_ENDPOINT_URL_S3"]


def fetch_of(recording: Recording) -> Mapping[str, Any]:
    return pod(recording)["initContainers"][0]


def test_both_meet_in_one_folder_that_holds_more_than_the_log_may(logged: Recording) -> None:
    (volume,) = [volume for volume in pod(logged)["volumes"] if volume["name"] == "predictions"]
    assert volume["emptyDir"]["sizeLimit"] == "96Mi"
    for container in (server(logged), shipper(logged)):
        folder = environment(container)["PREDICTION_LOG_DIR"]
        assert {"name": "predictions", "mountPath": folder} in container["volumeMounts"]


def test_in_a_local_stack_the_server_has_no_keys_and_no_annotation_of_a_cloud() -> None:
    template = local().one(":Deployment", "churn-predictor").spec["template"]
    (server,) = template["spec"]["containers"]
    assert not server.get("envFrom")
    assert "annotations" not in template["metadata"]
