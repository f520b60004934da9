"""Access to a running EKS cluster."""

import json
from pathlib import Path

from doctor.checks import Surroundings, checks
from doctor.examination import examine
from doctor.findings import Level
from tests.doctor.aws.cases import cluster
from tests.doctor.aws_double import HEALTHY, Cloud
from tests.doctor.conftest import World
from tests.doctor.stacks import stack


def test_a_running_stack_is_checked_through_a_kubeconfig_of_its_own(world: World, tmp_path: Path) -> None:
    world.write()
    cloud = Cloud({**HEALTHY, **cluster()})
    around = Surroundings(environment=world.environment(), folder=tmp_path, connect=cloud.connect)
    wanted = ("AWS credentials", "region", "EKS cluster", "Kubernetes API", "nodes", "platform", "MLflow", "champions")
    endpoint = "endpoint churn-predictor"
    made = [check for check in checks(stack(tmp_path, {}), around) if check.name in {*wanted, endpoint}]
    found = {report.check: {each.level for each in report.findings} for report in examine(made)}
    assert found == {name: {Level.OK} for name in (*wanted, endpoint)}
    config = json.loads((tmp_path / "kubeconfig").read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://cluster.example"
    assert config["users"][0]["user"]["exec"]["args"][-4:] == ["--cluster-name", "mlops-prod", "--region", "eu-west-1"]
    assert "token" not in config["users"][0]["user"]
