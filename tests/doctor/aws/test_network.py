"""Addresses of S3 that the cluster's NetworkPolicies lack."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doctor.checks import Surroundings, checks
from doctor.examination import examine
from doctor.findings import Finding, Level
from tests.doctor.aws.cases import cluster
from tests.doctor.aws_double import HEALTHY, Cloud
from tests.doctor.conftest import World
from tests.doctor.stacks import stack

S3 = {"PrefixListName": "com.amazonaws.eu-west-1.s3", "Cidrs": ["52.218.0.0/17", "3.5.64.0/21", "2a05:d07a::/32"]}


def policy(*cidrs: str, port: int = 443) -> Mapping[str, Any]:
    peers = [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]
    rule = {"to": peers, "ports": [{"protocol": "TCP", "port": port}]}
    return {"metadata": {"name": "ml-serving-stores-1"}, "spec": {"egress": [rule]}}


def findings(world: World, folder: Path, *policies: Mapping[str, Any]) -> list[Finding]:
    world.objects["get networkpolicies ml-serving"] = [*policies]
    world.write()
    cloud = Cloud({**HEALTHY, **cluster(), "ec2:DescribePrefixLists": {"PrefixLists": [S3]}})
    around = Surroundings(environment=world.environment(), folder=folder, connect=cloud.connect)
    made = [check for check in checks(stack(folder, {}), around) if check.name == "addresses of S3"]
    (report,) = examine([replace(check, needs=None) for check in made])
    return [*report.findings]


def test_an_address_that_aws_added_is_named_with_the_command_that_admits_it(world: World, tmp_path: Path) -> None:
    (found,) = findings(world, tmp_path, policy("52.218.0.0/17"))
    assert found.level is Level.PROBLEM
    assert found.what == "ml-serving-stores-1 in ml-serving lacks 1 of S3's 2 address blocks, such as 3.5.64.0/21"
    assert found.mend == "run pulumi up"


@pytest.mark.parametrize("cidrs", [("52.218.0.0/16", "3.5.64.0/21"), ("0.0.0.0/0",)], ids=["each", "the internet"])
def test_policies_that_admit_all_of_s3_are_right(world: World, tmp_path: Path, cidrs: tuple[str, ...]) -> None:
    (found,) = findings(world, tmp_path, policy(*cidrs), policy("10.40.0.0/16", port=5432))
    assert found.level is Level.OK
