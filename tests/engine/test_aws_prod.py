"""Stack `prod` from the first update to its deletion, with the real engine and recording plugins."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from policy.rules import buckets_are_complete, violations
from tests.engine.aws_stack import PASSWORD, change, declared, kind_of, name_of, requested
from tests.mlflow_double import Mlflow, serving
from tests.projects import Engine, Run

pytestmark = pytest.mark.engine

# Frequent and rare changes of a team.
RELEASES: Mapping[str, object] = {
    "endpoints.churn-predictor.version": 2,
    "endpoints.churn-predictor.replicas": {"min": 4, "max": 30},
    "foundation.cluster.kubernetes_version": "1.36",
    "foundation.database.instance_class": "db.m7g.xlarge",
    "foundation.database.storage_gib": 200,
    "foundation.node_pools.cpu.max_cpus": 128,
    "foundation.node_pools.gpu.gpu.max": 8,
    "monitoring": {"kind": "managed", "emails": ["oncall@example.com"]},
    "images.tracking": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mlops-prod/tracking:3.18.0",
}
REFUSED: Mapping[str, object] = {
    "foundation.network.cidr": "10.50.0.0/16",
    "foundation.artifacts.bucket": "another-mlops-prod",
    "foundation.database.engine_version": "16",
}
LIFTED = {f"foundation.{part}.protected": False for part in ("cluster", "artifacts", "database")}


@dataclass(frozen=True, kw_only=True)
class Story:
    """Runs in their order."""

    up: Run
    again: Run
    release: Run
    refused: Run
    protected: Run
    lifted: Run
    restored: Run
    destroyed: Run
    state: str


@pytest.fixture(scope="module")
def mlflow() -> Iterator[Mlflow]:
    with serving(Mlflow(bucket="example-mlops-prod")) as made:
        yield made


@pytest.fixture(scope="module")
def story(engine: Engine, mlflow: Mlflow, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("prod")
    secrets = {"database_password": PASSWORD}
    project = engine.tracked_stack(folder, "prod", secrets, MLFLOW_TRACKING_URI=mlflow.uri)
    up, again = project.up(), project.up("--refresh")
    state = project.pulumi("stack", "export")
    change(project, "prod", RELEASES)
    release = project.up()
    file = project.folder / "Pulumi.prod.yaml"
    right = file.read_text()
    change(project, "prod", {**REFUSED, "training.churn.dataset": "s3://another-mlops-prod/datasets/churn.csv"})
    refused = project.preview()
    file.write_text(right)
    protected = project.run("destroy", "--yes")
    change(project, "prod", LIFTED)
    lifted = project.up()
    right = file.read_text()
    plain = {"endpoints.churn-predictor.ingress": {"host": "churn.ml.example.com"}}
    change(project, "prod", {"foundation.database.restore_from": "mlops-prod-before-mlflow-0a1b2c3d", **plain})
    restored = project.preview()
    file.write_text(right)
    destroyed = project.destroy()
    return Story(
        up=up,
        again=again,
        release=release,
        refused=refused,
        protected=protected,
        lifted=lifted,
        restored=restored,
        destroyed=destroyed,
        state=state,
    )


def test_one_update_makes_the_whole_platform(story: Story) -> None:
    assert story.up.succeeded, story.up.output
    assert story.up.outputs["cluster"] == "mlops-prod"
    assert story.up.outputs["kubeconfig_command"] == ("aws eks update-kubeconfig --name mlops-prod --region eu-west-1")
    assert story.up.outputs["artifacts"] == "s3://example-mlops-prod"
    assert story.up.outputs["outside"] == {
        "mlflow": "https://mlflow.ml.example.com",
        "churn-predictor": "https://churn.ml.example.com",
    }
    assert set(story.up.outputs["registry"]) == {"tracking", "training", "serving"}


def test_a_refresh_finds_no_drift_and_a_second_update_changes_nothing(story: Story) -> None:
    assert story.again.succeeded, story.again.output
    assert {op for ops in story.again.changes.values() for op in ops} <= {"refresh"}


def test_no_resource_breaks_a_rule(story: Story) -> None:
    resources = [*declared(story.up), *declared(story.release)]
    assert len(resources) > 130
    assert not [(r.name, sentence) for r in resources for sentence in violations(r.kind, r.properties)]
    assert not list(buckets_are_complete(declared(story.up)))


def test_the_password_is_nowhere_in_clear(story: Story) -> None:
    assert PASSWORD not in story.state
    assert PASSWORD not in story.up.output
    assert PASSWORD not in str(story.up.outputs)


def test_what_a_team_changes_every_week_replaces_nothing_but_the_migration(story: Story) -> None:
    assert story.release.succeeded, story.release.output
    replaced = {step.name for step in story.release.steps if "replace" in step.op}
    assert replaced <= {"mlflow-migration", "before-mlflow"}
    changed = set(story.release.changes)
    assert {"cluster", "database", "cpu", "gpu", "churn-predictor", "mlflow"} <= changed
    assert not changed & {"network", "artifacts", "nodes", "mlops-platform", "churn"}


def test_monitoring_by_aws_is_added_to_a_stack_that_runs(story: Story) -> None:
    added = {request.kind for request in declared(story.release)} - {request.kind for request in declared(story.up)}
    assert {f"aws:amp/{each}" for each in ("scraper:Scraper", "workspace:Workspace")} <= added
    assert story.release.outputs["alerts"] == "arn:aws:sns:eu-west-1:123456789012:mlops-prod-alerts"


def test_an_upgrade_of_mlflow_saves_the_database_before_the_schema_changes(story: Story) -> None:
    order = [name_of(r.about) for r in story.release.requests if r.method in {"create", "update"} and not r.preview]
    assert order.index("before-mlflow") < order.index("mlflow-migration") < order.index("mlflow")
    (migration,) = [r for r in declared(story.release) if r.name == "mlflow-migration"]
    saved = migration.properties["spec"]["template"]["metadata"]["annotations"]["mlops/database-snapshot"]
    assert saved.startswith("arn:aws:rds:eu-west-1:123456789012:snapshot:mlops-prod-before-mlflow-")


def test_a_kubernetes_upgrade_keeps_the_access_to_the_cluster(story: Story) -> None:
    assert not [s for s in story.release.steps if s.type == "pulumi:providers:kubernetes" and s.op != "same"]


@pytest.mark.parametrize("path", REFUSED)
def test_a_change_that_would_replace_what_is_protected_is_refused_before_the_preview(story: Story, path: str) -> None:
    assert not story.refused.succeeded
    assert not [step for step in story.refused.steps if not step.type.startswith("pulumi:")]
    (line,) = [line for line in story.refused.messages().splitlines() if f"mlops:{path} is " in line]
    assert "must " in line
    assert ", because " in line


def test_a_stack_with_protected_resources_is_not_destroyed_and_the_remedy_is_named(story: Story) -> None:
    assert not story.protected.succeeded
    assert not requested(story.protected, "delete")
    assert "pulumi state unprotect" in story.protected.output


def test_a_database_can_be_restored_from_the_snapshot_from_before_the_upgrade(story: Story) -> None:
    assert story.lifted.succeeded, story.lifted.output
    assert "before-mlflow" not in {name_of(urn) for urn in requested(story.lifted, "delete")}
    assert story.restored.succeeded, story.restored.output
    assert "replace" in story.restored.changes["database"]
    assert "before-mlflow" not in story.restored.changes


def test_a_change_that_replaces_is_announced_by_name_before_the_preview(story: Story) -> None:
    (line,) = [line for line in story.restored.messages("warning").splitlines() if "mlops:foundation" in line]
    assert line == (
        "mlops:foundation.database.restore_from is mlops-prod-before-mlflow-0a1b2c3d, was absent: "
        "this update replaces the database with the content of the snapshot"
    )


ENDPOINT_DOWN = (
    ("kubernetes:apps/v1:Deployment", "churn-predictor"),
    ("kubernetes:core/v1:Namespace", "ml-serving"),
    ("kubernetes:karpenter.sh/v1:NodePool", "cpu"),
)
"""Order of deletion: endpoint, nodes. An endpoint needs no MLflow, so either may go first."""
TOP_DOWN = (
    ("kubernetes:apps/v1:Deployment", "mlflow"),
    ("kubernetes:core/v1:Namespace", "mlops-platform"),
    ("kubernetes:karpenter.sh/v1:NodePool", "cpu"),
    ("aws:ec2/natGateway:NatGateway", "network-0"),
    ("aws:ec2/internetGateway:InternetGateway", "network"),
    ("aws:ec2/vpc:Vpc", "network"),
)
"""Order of deletion: platform, nodes, and then the nodes' network."""
CLUSTER_DOWN = (
    ("kubernetes:karpenter.sh/v1:NodePool", "cpu"),
    ("aws:eks/cluster:Cluster", "cluster"),
    ("aws:ec2/subnet:Subnet", "network-private-eu-west-1a"),
    ("aws:ec2/vpc:Vpc", "network"),
)
"""Order of deletion: nodes, cluster, network."""


def test_a_preview_names_an_ingress_without_a_certificate(story: Story) -> None:
    said = "http://churn.ml.example.com: the load balancer speaks plain HTTP"
    assert said in story.restored.messages("warning")
    assert "plain HTTP" not in story.again.output


def test_once_unprotected_everything_goes_from_the_top_down(story: Story) -> None:
    assert story.lifted.succeeded, story.lifted.output
    assert story.destroyed.succeeded, story.destroyed.output
    gone = [(kind_of(urn), name_of(urn)) for urn in requested(story.destroyed, "delete")]
    for steps in (ENDPOINT_DOWN, TOP_DOWN, CLUSTER_DOWN):
        order = [gone.index(each) for each in steps]
        assert order == sorted(order)
    assert ("aws:rds/instance:Instance", "database") in gone
