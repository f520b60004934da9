"""Endpoints with paths of one host have one load balancer, and their servers remove the paths."""

import json

import pytest

from components.router import configuration
from tests.deployed import environment
from tests.infra.foundations.test_aws import run, tracked

# The SDK imports its own deprecated modules.
pytestmark = pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")

HOST = "predictions.ml.example.com"


def test_one_load_balancer_routes_each_path_to_its_endpoint_whose_servers_and_router_know_it() -> None:
    tree = tracked()
    (settings,) = tree["endpoints"].values()
    tree["images"]["envoy"] = "envoyproxy/envoy:v1.40.0"
    settings |= {"replicas": {"min": 1, "max": 2}, "ingress": {"host": HOST, "path": "/churn"}, "drain_seconds": 15}
    challenger = {"version": 999, "percent": 10, "key": "X-Customer-Id", "experiment": "trees"}
    fraud = {**settings, "ingress": {"host": HOST, "path": "/fraud"}, "challenger": challenger}
    tree["endpoints"] |= {"fraud": fraud, "alone": {"version": 1}}
    found = run(tree)
    assert [each.name for each in found.all(":Ingress")] == ["mlflow", HOST]
    shared = found.one(":Ingress", HOST)
    assert shared.metadata["namespace"] == "ml-serving"
    assert "transforms" not in json.dumps(shared.metadata), "EKS Auto Mode has no rewrites"
    (rule,) = shared.spec["rules"]
    assert rule["host"] == HOST
    assert {each["path"]: each["backend"]["service"]["name"] for each in rule["http"]["paths"]} == {
        "/churn": "churn-predictor",
        "/fraud": "fraud",
    }
    prefixes = {
        each.name: environment(each.spec["template"]["spec"]["containers"][0]).get("PATH_PREFIX")
        for each in found.all(":Deployment")
        if each.name in {"churn-predictor", "fraud", "fraud-challenger", "alone"}
    }
    assert prefixes == {"churn-predictor": "/churn", "fraud": "/fraud", "fraud-challenger": "/fraud", "alone": None}
    (envoy,) = found.one(":Deployment", "fraud-router").spec["template"]["spec"]["containers"]
    assert f'"prefix": "/fraud{configuration.PREDICTIONS}"' in " ".join(envoy["command"])
    assert found.exports["outside"]["fraud"] == f"http://{HOST}/fraud"
