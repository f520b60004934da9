"""Report of drift for edits by hand, with the real engine's JSON and recording plugins."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runs import preview
from runs.drift import Difference, differences
from runs.infra_diff import show
from tests.projects import Engine, Project
from tests.stacks import LOCAL, SECRETS

pytestmark = pytest.mark.engine

ENDPOINT, MLFLOW = "kubernetes:apps/v1:Deployment::churn-predictor", "kubernetes:apps/v1:Deployment::mlflow"
SERVICE, TEMPLATE = "kubernetes:core/v1:Service::churn-predictor", "kubernetes:batch/v1:CronJob::churn"
CONTAINERS = "spec.template.spec.containers"
AT = "2026-11-30T09:14:05Z"


def live_of(project: Project, resource: str) -> dict[str, Any]:
    """Return the live object of a resource, with the fields that differ at every read."""
    (found,) = [each for each in project.state() if each["urn"].endswith(("$" + resource, "::" + resource))]
    live = deepcopy(found["outputs"])
    live["metadata"] |= {"resourceVersion": "4711", "generation": 3, "managedFields": []}
    live |= {"status": {"observedGeneration": 3}, "__fieldManager": "pulumi-kubernetes-0a1b2c3d"}
    own: dict[str, Any] = {"f:spec": {"f:template": {}}, "f:metadata": {"f:labels": {}}}
    live["metadata"]["managedFields"].append({"manager": live["__fieldManager"], "time": AT, "fieldsV1": own})
    return live


def touch(live: dict[str, Any], manager: str, fields: dict[str, Any], subresource: str = "") -> None:
    """Record the program `manager` as the owner of fields."""
    entry = {"manager": manager, "operation": "Update", "time": AT, "fieldsV1": fields}
    live["metadata"]["managedFields"].append(entry | ({"subresource": subresource} if subresource else {}))


def env_fields(container: str, *names: str) -> dict[str, Any]:
    """Return the managed fields of a container's environment variables."""
    variables: dict[str, Any] = {f'k:{{"name":"{name}"}}': {".": {}, "f:name": {}, "f:value": {}} for name in names}
    containers: dict[str, Any] = {f'k:{{"name":"{container}"}}': {"f:env": variables}}
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": containers}}}}


def edited(project: Project) -> dict[str, Any]:
    endpoint, mlflow, service = (live_of(project, resource) for resource in (ENDPOINT, MLFLOW, SERVICE))
    (server,) = endpoint["spec"]["template"]["spec"]["containers"]
    (threads,) = [each for each in server["env"] if each["name"] == "THREADS"]
    threads["value"] = "3"
    server["env"].insert(0, {"name": "DEBUG", "value": "1"})
    touch(endpoint, "kubectl-set", env_fields("server", "THREADS", "DEBUG"))
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-11-30"}
    endpoint["spec"]["template"]["metadata"]["annotations"] = restarted
    annotations: dict[str, Any] = {".": {}, **{f"f:{key}": {} for key in restarted}}
    touch(endpoint, "kubectl-rollout", {"f:spec": {"f:template": {"f:metadata": {"f:annotations": annotations}}}})
    endpoint["spec"]["replicas"] = 2
    touch(endpoint, "kube-controller-manager", {"f:spec": {"f:replicas": {}}}, "scale")

    (server,) = mlflow["spec"]["template"]["spec"]["containers"]
    server["env"].append({"name": "PROXY", "value": "http://proxy"})
    touch(mlflow, "kubectl-edit", env_fields(server["name"], "PROXY"))

    service["metadata"]["labels"]["app.kubernetes.io/part-of"] = "else"
    touch(service, "kubectl-label", {"f:metadata": {"f:labels": {"f:app.kubernetes.io/part-of": {}}}})
    return {ENDPOINT: endpoint, MLFLOW: mlflow, SERVICE: service, TEMPLATE: None}


@pytest.fixture(scope="module")
def project(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Project whose stack had its first `up`."""
    project = engine.our_program(tmp_path_factory.mktemp("drift"), LOCAL, SECRETS)
    run = project.up()
    assert run.succeeded, run.output
    return project


@pytest.fixture(scope="module")
def report(project: Project) -> Callable[[dict[str, Any]], list[Difference]]:
    def report(live: dict[str, Any]) -> list[Difference]:
        project.environment["MLOPS_RECORDING_ORDERS"] = json.dumps({key: {"live": live[key]} for key in live})
        return differences(json.loads(project.pulumi(*preview.arguments("--refresh"))))

    return report


@pytest.fixture(scope="module")
def found(project: Project, report: Callable[[dict[str, Any]], list[Difference]]) -> list[Difference]:
    return report(edited(project))


def test_each_edit_is_there_with_both_values_who_made_it_and_what_the_next_up_makes_of_it(
    found: list[Difference],
) -> None:
    debug, proxy = {"name": "DEBUG", "value": "1"}, {"name": "PROXY", "value": "http://proxy"}
    restarted = 'spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]'
    part_of = 'metadata.labels["app.kubernetes.io/part-of"]'
    assert [
        (each.object.split("/")[-1], each.field, each.stack, each.cluster, each.changed_by, each.after_up)
        for each in found
    ] == [
        ("churn", "", "present", None, "", "present"),
        ("churn-predictor", restarted, None, "2026-11-30", "kubectl-rollout", None),
        ("churn-predictor", f"{CONTAINERS}[server].env[DEBUG]", None, debug, "kubectl-set", None),
        ("churn-predictor", f"{CONTAINERS}[server].env[THREADS].value", "2", "3", "kubectl-set", "2"),
        ("mlflow", f"{CONTAINERS}[mlflow].env[PROXY]", None, proxy, "kubectl-edit", proxy),
        ("churn-predictor", part_of, "mlops", "else", "kubectl-label", "mlops"),
    ]
    assert [each.object for each in found][-2:] == [
        "Deployment mlops-platform/mlflow",
        "Service ml-serving/churn-predictor",
    ]
    assert {each.changed_at for each in found} == {"", AT}


def test_the_report_is_read_in_80_columns(found: list[Difference]) -> None:
    console = Console(width=80, record=True, highlight=False)
    show(console, found)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 40
    assert any(line.startswith("Deployment ml-serving/churn-predictor") for line in lines)


def test_what_every_read_changes_and_what_the_stack_file_changes_is_no_drift(
    project: Project, report: Callable[[dict[str, Any]], list[Difference]]
) -> None:
    file: Path = project.folder / "Pulumi.test.yaml"
    before = file.read_text()
    project.pulumi("config", "set", "--path", "mlops:endpoints.churn-predictor.version", "2")
    assert report({ENDPOINT: live_of(project, ENDPOINT)}) == []
    file.write_text(before)
