"""`mlops infra-diff`, with a fake `pulumi` that prints recorded output of the engine (tests/engine)."""

import json
from pathlib import Path
from typing import Any

from tests.command import Command

URN = "urn:pulumi:test::mlops::mlops:index:ModelEndpoint$kubernetes:core/v1:Service::churn-predictor"


def state(inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"urn": URN, "type": "kubernetes:core/v1:Service", "inputs": inputs, "outputs": {**inputs, **more}}


def service(port: int) -> dict[str, Any]:
    return {
        "kind": "Service",
        "metadata": {"name": "churn-predictor", "namespace": "ml-serving"},
        "spec": {"ports": [{"name": "http", "port": port}]},
    }


def steps(port: int) -> list[dict[str, Any]]:
    """Return the steps of a preview of a Service with this port in the cluster."""
    plan = {"op": "update" if port != 80 else "same", "urn": URN, "oldState": state(service(port))}
    return [{"op": "refresh", "urn": URN, "oldState": state(service(80))}, {**plan, "newState": state(service(80))}]


def test_a_difference_is_a_line_and_an_exit_code(pulumi: Path, mlops: Command) -> None:
    (pulumi / "preview").write_text(json.dumps({"steps": steps(8080)}))
    code, said = mlops("infra-diff", "--stack", "prod")
    assert code == 3
    _, title, field, values, *_ = said.splitlines()
    assert (title, field.strip()) == ("Service ml-serving/churn-predictor", "spec.ports[http].port")
    assert values.split() == ["80", "8080", "80", "not", "known"]
    assert (pulumi / "asked").read_text().endswith("--refresh --json --show-sames --non-interactive --stack prod\n")


def test_json_has_the_values_as_they_are(pulumi: Path, mlops: Command) -> None:
    (pulumi / "preview").write_text(json.dumps({"steps": steps(8080)}))
    code, said = mlops("infra-diff", "--json")
    (difference,) = json.loads(said)
    assert (code, difference["stack"], difference["cluster"], difference["after_up"]) == (3, 80, 8080, 80)


def test_a_cluster_as_the_stack_says_ends_with_0(pulumi: Path, mlops: Command) -> None:
    (pulumi / "preview").write_text(json.dumps({"steps": steps(80)}))
    assert mlops("infra-diff") == (0, "no differences: the cluster is as the stack says\n")


def test_a_preview_that_fails_is_reported_in_the_engines_words(pulumi: Path, mlops: Command) -> None:
    errors = [{"severity": "error", "message": "Pulumi.prod.yaml: mlops:trainig is unknown\n"}]
    (pulumi / "preview").write_text(json.dumps({"diagnostics": errors}))
    (pulumi / "code").write_text("1")
    assert mlops("infra-diff") == (1, "mlops: Pulumi.prod.yaml: mlops:trainig is unknown\n")
    (pulumi / "preview").write_text("")
    assert mlops("infra-diff")[0] == 1
