"""Stack `dev` with the real engine, the policy pack and recording plugins."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from policy.rules import buckets_are_complete, violations
from tests.engine.aws_stack import PASSWORD, change, declared, kind_of, name_of, requested
from tests.mlflow_double import Mlflow, serving
from tests.projects import CHECKOUT, Engine, Run

pytestmark = pytest.mark.engine


# docs/aws.md: resources that must exist before images and data.
GROUND = ("--target", "**mlops:aws:**", "--target", "**mlops:index:Namespaces**")
# One wrong value in each section.
WRONG = {
    "foundation.account_id": 123456789012,
    "foundation.network.cidr": "10.41.0.0/28",
    "foundation.network.nat_gateways": "many",
    "foundation.cluster.kubernetes_version": "1.29",
    "foundation.cluster.public_access_cidrs": ["0.0.0.0/0"],
    "foundation.node_pools.cpu.instance_families": ["g6"],
    "foundation.node_pools.gpu.gpu.kind": "amd",
    "foundation.artifacts.bucket": "My.Models",
    "foundation.database.instance_class": "small",
    "foundation.database.max_storage_gib": 20,
    "tracking.ingress": {"host": "mlflow.example.com", "scheme": "public"},
    "training.churn.node_pool": "tpu",
    "training.churn.dataset": "s3://somebody-elses/datasets/churn.csv",
    "endpoints.churn-predictor": {"version": "latest"},
    "endpoint": {},
}


@dataclass(frozen=True, kw_only=True)
class Story:
    """Runs in their order."""

    preview: Run
    ground: Run
    up: Run
    wrong: Run
    destroyed: Run


@pytest.fixture(scope="module")
def mlflow() -> Iterator[Mlflow]:
    with serving(Mlflow(bucket="example-mlops-dev")) as made:
        yield made


@pytest.fixture(scope="module")
def story(engine: Engine, mlflow: Mlflow, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("dev")
    python = str(CHECKOUT / "lab" / "policy-python")
    variables = {"PULUMI_PYTHON_CMD": python, "MLFLOW_TRACKING_URI": mlflow.uri}
    project = engine.tracked_stack(folder, "dev", {"database_password": PASSWORD}, **variables)
    pack = ("--policy-pack", str(CHECKOUT / "policy"))
    preview, ground, up = project.preview(*pack), project.up(*GROUND), project.up(*pack)
    right = (folder / "Pulumi.dev.yaml").read_text()
    change(project, "dev", WRONG)
    project.configure("mlops:database_password", "with spaces", secret=True)
    wrong = project.up()
    (folder / "Pulumi.dev.yaml").write_text(right)
    return Story(preview=preview, ground=ground, up=up, wrong=wrong, destroyed=project.destroy())


def test_a_preview_of_nothing_yet_shows_everything_and_touches_nothing(story: Story) -> None:
    assert story.preview.succeeded, story.preview.output
    assert {op for ops in story.preview.changes.values() for op in ops} == {"create"}
    assert not requested(story.preview, "create")


def test_the_policy_pack_lets_the_stack_pass(story: Story) -> None:
    assert story.up.succeeded, story.up.output
    for run in (story.preview, story.up):
        assert "mlops@v1.0.0" in run.output
        assert "[mandatory]" not in run.output


def test_the_ground_can_be_laid_before_the_first_image_is_pushed(story: Story) -> None:
    assert story.ground.succeeded, story.ground.output
    made = {kind_of(urn) for urn in requested(story.ground, "create")}
    assert {"aws:ecr/repository:Repository", "aws:s3/bucket:Bucket", "aws:eks/cluster:Cluster"} <= made
    assert not {kind for kind in made if kind.endswith((":Deployment", ":Job"))}
    assert {":Deployment", ":Job"} <= {f":{kind_of(urn).rpartition(':')[2]}" for urn in requested(story.up, "create")}


def test_no_resource_breaks_a_rule(story: Story) -> None:
    resources = [*declared(story.ground), *declared(story.up)]
    assert len(resources) > 100
    assert not [(r.name, sentence) for r in resources for sentence in violations(r.kind, r.properties)]
    assert not list(buckets_are_complete(resources))


def test_everything_wrong_with_a_file_is_reported_in_one_run_that_touches_nothing(story: Story) -> None:
    assert not story.wrong.succeeded
    assert not story.wrong.requests
    lines = [line for line in story.wrong.messages().splitlines() if line.startswith("Pulumi.dev.yaml: mlops:")]
    named = {line.removeprefix("Pulumi.dev.yaml: mlops:").split()[0] for line in lines}
    assert len(lines) >= len(WRONG) + 1
    assert all(any(name.startswith(path) for name in named) for path in [*WRONG, "database_password"])
    assert "with spaces" not in story.wrong.output


def test_an_unprotected_stack_goes_with_its_data_in_one_command(story: Story) -> None:
    assert story.destroyed.succeeded, story.destroyed.output
    gone = [(kind_of(urn), name_of(urn)) for urn in requested(story.destroyed, "delete")]
    assert len(gone) > 100
    assert gone.index(("kubernetes:karpenter.sh/v1:NodePool", "gpu")) < gone.index(
        ("aws:eks/cluster:Cluster", "cluster")
    )


BAD = """
    import pulumi_aws as aws
    import pulumi_kubernetes as k8s
    aws.s3.Bucket("open")
    for name in ("open", "closed"):
        k8s.core.v1.Namespace(name, metadata={"name": name})
    every = {"pod_selector": {}, "policy_types": ["Ingress", "Egress"]}
    k8s.networking.v1.NetworkPolicy("closed", metadata={"namespace": "closed"}, spec=every)
    pod = {"containers": [{"name": "app", "image": "app:1"}]}
    k8s.batch.v1.Job("soft", metadata={"namespace": "closed"}, spec={"template": {"spec": pod}})
    aws.vpc.SecurityGroupIngressRule("world", security_group_id="sg-1", ip_protocol="tcp", cidr_ipv4="0.0.0.0/0")
"""


def test_the_policy_pack_stops_what_breaks_a_rule(engine: Engine, tmp_path: Path) -> None:
    python = str(CHECKOUT / "lab" / "policy-python")
    project = engine.project(tmp_path, BAD, PULUMI_PYTHON_CMD=python)
    preview = project.preview("--policy-pack", str(CHECKOUT / "policy"))
    assert not preview.succeeded
    assert "is open to 0.0.0.0/0" in preview.output
    assert "a bucket lacks its BucketPublicAccessBlock" in preview.output
    assert "the namespace open has no NetworkPolicy for all of its pods" in preview.output
    assert "the namespace closed" not in preview.output
    assert "app may run as root" in preview.output
    assert re.search(r"\[advisory\].*images-have-digests", preview.output)
