"""The recording provider under the real engine."""

import json
from pathlib import Path

import pytest

from tests.projects import Engine, Project, Run, wait_until

pytestmark = pytest.mark.engine

PROGRAM = """
    import pulumi, pulumi_aws as aws
    vpc = aws.ec2.Vpc("network", cidr_block="10.40.0.0/16")
    subnet = aws.ec2.Subnet("first", vpc_id=vpc.id, cidr_block="10.40.0.0/24", tags={"tier": "a"})
    bucket = aws.s3.Bucket("artifacts")
    database = aws.rds.Instance("database", instance_class="db.t4g.micro", password=pulumi.Output.secret("hush-hush"))
    pulumi.export("vpc", vpc.id)
    pulumi.export("bucket", bucket.arn)
    pulumi.export("address", database.address)
    pulumi.export("account", aws.get_caller_identity_output().account_id)
    pulumi.export("zones", aws.get_availability_zones_output(state="available").names)
"""
# Without an SDK, which takes seconds to import.
SMALL = """
    import pulumi
    pulumi.CustomResource("aws:sqs/queue:Queue", "first", {"delaySeconds": 1})
    pulumi.CustomResource("aws:sqs/queue:Queue", "second", {"delaySeconds": 2})
"""


@pytest.fixture(scope="module")
def network(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Run]:
    project = engine.project(tmp_path_factory.mktemp("network"), PROGRAM)
    run = project.up()
    assert run.succeeded, run.output
    return project, run


def test_outputs_are_plausible(network: tuple[Project, Run]) -> None:
    _, run = network
    assert run.outputs["vpc"].startswith("vpc-")
    assert run.outputs["bucket"].startswith("arn:aws:s3:::artifacts-")
    assert run.outputs["address"].endswith(".eu-west-1.rds.amazonaws.com")
    assert run.outputs["account"] == "123456789012"
    assert run.outputs["zones"] == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]


def test_what_was_asked_is_written_down_in_order_with_secrets_marked(network: tuple[Project, Run]) -> None:
    project, run = network
    created = {request.name: request for request in run.requests if request.method == "create"}
    assert list(created).index("network") < list(created).index("first")
    assert created["database"].inputs["password"] == {"secret": "hush-hush"}
    assert created["first"].inputs["vpcId"] == run.outputs["vpc"]
    assert "hush-hush" not in json.dumps(project.state())


def test_a_change_replaces_where_the_cloud_would_and_updates_elsewhere(network: tuple[Project, Run]) -> None:
    project, _ = network
    project.write(PROGRAM.replace('"tier": "a"', '"tier": "b"'))
    assert project.preview().changes == {"first": ["update"]}

    project.write(PROGRAM.replace("10.40.0.0/16", "10.41.0.0/16"))
    preview = project.preview()
    assert preview.step("network", "replace").diff == {"cidrBlock": "update-replace"}
    (subnet,) = [request for request in preview.requests if request.name == "first"]
    assert (subnet.inputs["vpcId"], subnet.preview) == ("<unknown>", True)
    assert preview.changes.keys() == {"network", "first"}


def test_a_failure_on_command_leaves_the_rest_in_the_state(engine: Engine, tmp_path: Path) -> None:
    orders = '{"aws:sqs/queue:Queue::second": {"fail": "there is no room for it"}}'
    project = engine.project(tmp_path, SMALL, MLOPS_RECORDING_ORDERS=orders)
    failed = project.up()
    assert not failed.succeeded
    assert "there is no room for it" in failed.said()

    project.environment.pop("MLOPS_RECORDING_ORDERS")
    healed = project.up()
    assert (healed.succeeded, healed.changes) == (True, {"second": ["create"]})


def test_an_engine_killed_in_mid_create_finds_what_it_had_made(engine: Engine, tmp_path: Path) -> None:
    orders = '{"aws:sqs/queue:Queue::second": {"seconds": 60}}'
    project = engine.project(tmp_path, SMALL, MLOPS_RECORDING_ORDERS=orders)
    process = project.start("up", "--yes", "--skip-preview")
    wait_until(lambda: {"first", "second"} <= {request.name for request in project.requests()}, process)
    wait_until(lambda: "first" in {resource["urn"].rpartition("::")[2] for resource in project.state()}, process)
    project.kill(process)

    project.environment.pop("MLOPS_RECORDING_ORDERS")
    retried = project.up()
    assert (retried.succeeded, retried.changes) == (True, {"second": ["create"]})
    assert "interrupted while creating" in retried.said("warning")
