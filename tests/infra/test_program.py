"""Resources of a whole stack."""

import json
from typing import Any

import pytest

from tests.deployed import containers, deployed, local, pod_specs
from tests.recording import Recording, Resource
from tests.stacks import SECRETS


def declared(recording: Recording) -> dict[str, Resource]:
    return {resource.urn: resource for resource in recording.resources}


def changes(before: Recording, after: Recording) -> list[str]:
    """Return type and name of resources that differ, are new or are missing."""
    old, new = declared(before), declared(after)
    return [
        f"{resource.type.rpartition(':')[2]} {resource.name}"
        for urn, resource in (old | new).items()
        if old.get(urn) is None or new.get(urn) is None or old[urn].inputs != new[urn].inputs
    ]


def test_the_same_stack_twice_is_the_same_to_the_last_value() -> None:
    assert changes(local(), deployed()) == []


def test_another_version_changes_one_deployment_and_nothing_else() -> None:
    assert changes(local(), deployed({"endpoints.churn-predictor.version": 2})) == ["Deployment churn-predictor"]


def test_more_replicas_change_the_autoscaler_and_nothing_else() -> None:
    after = deployed({"endpoints.churn-predictor.replicas.max": 9})
    assert changes(local(), after) == ["HorizontalPodAutoscaler churn-predictor"]


def test_another_parameter_changes_one_job_with_its_template_and_nothing_else() -> None:
    after = deployed({"training.churn.parameters.max_depth": 4})
    assert sorted(changes(local(), after)) == ["CronJob churn", "Job churn"]


def test_a_new_endpoint_leaves_all_others_as_they_are() -> None:
    after = deployed({"endpoints.other": {"version": 3}})
    assert {change.split()[1] for change in changes(local(), after)} == {"other"}


def test_another_image_of_mlflow_migrates_again() -> None:
    after = deployed({"images.tracking": "lab.local/mlflow:2"})
    assert sorted(changes(local(), after)) == ["Deployment mlflow", "Job mlflow-migration"]


def test_the_plugin_is_configured_so_that_the_program_wins_over_edits_by_hand() -> None:
    assert local().one(":kubernetes", "local").inputs["enablePatchForce"] == "true"


def test_people_learn_where_to_find_things_and_no_secret() -> None:
    exports = local().exports
    assert exports["tracking"] == "http://mlflow.mlops-platform:5000"
    assert exports["endpoints"] == {"churn-predictor": "http://churn-predictor.ml-serving"}
    assert not [secret for secret in SECRETS.values() if secret in str(exports)]


def test_secrets_reach_the_engine_marked_as_such_and_are_in_secrets_alone() -> None:
    (validation,) = [each for each in local().all(":Secret") if each.name == "validation-artifact-store"]
    (tls,) = [each for each in local().all(":Secret") if each.name == "postgres-tls"]
    derived = (validation.inputs["stringData"]["AWS_SECRET_ACCESS_KEY"], tls.inputs["stringData"]["tls.key"])
    known = {*SECRETS.values(), *(json.dumps(each)[1:-1] for each in derived)}

    def secrets_in(value: object) -> set[str]:
        return {secret for secret in known if secret in json.dumps(value)}

    for resource in local().resources:
        assert {key for key, value in resource.inputs.items() if secrets_in(value)} == resource.secrets
        assert not resource.secrets or resource.type == "kubernetes:core/v1:Secret"
    assert secrets_in([resource.inputs for resource in local().resources]) == known


def test_everything_goes_to_the_cluster_of_the_stack_file() -> None:
    (provider,) = local().all(":kubernetes")
    assert provider.inputs["context"] == "somewhere"
    for resource in local().resources:
        if resource.type.startswith("kubernetes:"):
            assert resource.provider.startswith(provider.urn), resource.urn


@pytest.mark.parametrize("workload", sorted(pod_specs(local())))
def test_a_pod_has_no_right_it_does_not_need(workload: str) -> None:
    pod = pod_specs(local())[workload]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() - {"ephemeral-storage"} == {"cpu", "memory"}
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


@pytest.mark.parametrize("workload", sorted(pod_specs(local())))
def test_a_failing_container_says_why(workload: str) -> None:
    for container in containers(pod_specs(local())[workload]):
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_an_object_says_what_it_is_part_of() -> None:
    kinds = ("Deployment", "StatefulSet", "Job", "CronJob", "Service", "Namespace", "ServiceAccount")
    label = "app.kubernetes.io/part-of"
    said = {kind: {each.metadata["labels"].get(label) for each in local().all(f":{kind}")} for kind in kinds}
    assert said == {kind: {"mlops"} for kind in kinds}


def test_up_waits_for_pods_and_not_for_the_services_before_them() -> None:
    def awaited(kind: str) -> dict[str, bool]:
        found = {resource.name: resource.metadata.get("annotations", {}) for resource in local().all(f":{kind}")}
        return {name: given.get("pulumi.com/skipAwait") != "true" for name, given in found.items()}

    assert awaited("Service") == dict.fromkeys(("mlflow", "mlflow-server", "churn-predictor", "postgres", "s3"), False)
    assert awaited("Deployment") == dict.fromkeys(("mlflow", "churn-predictor"), True)
    assert awaited("StatefulSet") == dict.fromkeys(("postgres", "s3"), True)


CHANGED = {
    "foundation.images": {"postgres": "lab.local/postgres:2", "s3_gateway": "lab.local/s3-gateway:2"},
    "foundation.storage_gib": 50,
    "images": {name: f"lab.local/{name}:2" for name in ("tracking", "training", "serving")},
    "tracking": {"replicas": 3, "workers": 3, "memory": "3Gi"},
    "endpoints.churn-predictor": {
        "version": 2,
        "replicas": {"min": 2, "max": 9},
        "cpu": 2,
        "prediction_log": {},
        "tracing": {"endpoint": "http://collector.observability:4318"},
    },
}
"""Changes to a stack after which every workload keeps its identity."""


def test_no_change_of_a_stack_changes_a_selector_which_kubernetes_would_refuse() -> None:
    def selectors(recording: Recording) -> dict[str, Any]:
        workloads = [*recording.all(":Deployment"), *recording.all(":StatefulSet")]
        for resource in workloads:
            selected = resource.spec["selector"]["matchLabels"].items()
            assert selected <= resource.spec["template"]["metadata"]["labels"].items()
        return {resource.urn: resource.spec["selector"] for resource in workloads}

    after = deployed(CHANGED)
    assert selectors(after) == selectors(local())
    assert {change.split()[0] for change in changes(local(), after)} >= {"Deployment", "StatefulSet"}


def test_no_two_workloads_of_a_namespace_are_selected_by_the_same_labels() -> None:
    selected = [
        (resource.metadata["namespace"], *sorted(labels.items()))
        for kind in ("Deployment", "StatefulSet", "Job")
        for resource in local().all(f":{kind}")
        for labels in [resource.spec["template"]["metadata"]["labels"]]
    ]
    assert len(set(selected)) == len(selected) == 6
