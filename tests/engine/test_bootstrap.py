"""Bootstrap of an AWS account with the real engine, the policy pack and recording plugins."""

import os
import shutil
from dataclasses import dataclass, replace

import pytest
import yaml

from policy.rules import buckets_are_complete, violations
from tests.engine.aws_stack import change, declared, requested
from tests.projects import CHECKOUT, Engine, Run

pytestmark = pytest.mark.engine


@dataclass(frozen=True, kw_only=True)
class Story:
    """Runs in their order."""

    up: Run
    moved: Run
    wrong: Run
    destroyed: Run


@pytest.fixture(scope="module")
def story(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("bootstrap")
    project = engine.project(folder, "", PULUMI_PYTHON_CMD=str(CHECKOUT / "lab" / "policy-python"))
    settings = yaml.safe_load((CHECKOUT / "bootstrap" / "Pulumi.yaml").read_text())
    settings["main"] = os.path.relpath(CHECKOUT / "bootstrap", folder)
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(settings))
    shutil.copy(CHECKOUT / "bootstrap" / "Pulumi.prod.yaml", folder)
    project.pulumi("stack", "init", "prod")
    pack = ("--policy-pack", str(CHECKOUT / "policy"))
    up = project.up(*pack)
    # The steps of docs/aws.md, with a folder in place of the bucket.
    project.pulumi("stack", "export", "--file", "state.json")
    bucket = folder / "bucket"
    bucket.mkdir()
    there = replace(project, environment={**project.environment, "PULUMI_BACKEND_URL": f"file://{bucket}"})
    there.pulumi("stack", "init", "prod")
    there.pulumi("stack", "import", "--file", "state.json")
    moved = there.preview(*pack)
    change(there, "prod", {"state_bucket": "My.State", "github.environments.deploy": ["*"], "githup": {}})
    return Story(up=up, moved=moved, wrong=there.up(), destroyed=there.destroy())


def test_the_policy_pack_lets_the_bootstrap_pass(story: Story) -> None:
    assert story.up.succeeded, story.up.output
    assert "mlops@v1.0.0" in story.up.output
    assert "[mandatory]" not in story.up.output
    resources = declared(story.up)
    assert not [(each.name, said) for each in resources for said in violations(each.kind, each.properties)]
    assert not list(buckets_are_complete(resources))


def test_the_outputs_are_what_stacks_and_workflows_need(story: Story) -> None:
    assert story.up.outputs == {
        "deploy_role_arn": "arn:aws:iam::123456789012:role/mlops-deploy",
        "permissions_boundary": "arn:aws:iam::123456789012:policy/boundary/mlops",
        "preview_role_arn": "arn:aws:iam::123456789012:role/mlops-preview",
        "propose_role_arn": "arn:aws:iam::123456789012:role/mlops-propose",
        "train_role_arn": "arn:aws:iam::123456789012:role/mlops-train",
        "secrets_provider": "awskms://alias/pulumi?region=eu-west-1",
        "state_url": "s3://example-pulumi-state?region=eu-west-1&awssdk=v2",
    }


def test_the_state_moves_to_another_backend_without_a_change(story: Story) -> None:
    assert story.moved.succeeded, story.moved.output
    assert story.moved.steps
    assert not story.moved.changes


def test_everything_wrong_with_the_file_is_listed_in_one_run_that_touches_nothing(story: Story) -> None:
    assert not story.wrong.succeeded
    assert not story.wrong.requests
    lines = [line for line in story.wrong.messages().splitlines() if line.startswith("Pulumi.prod.yaml: mlops:")]
    named = [line.removeprefix("Pulumi.prod.yaml: mlops:").split()[0] for line in lines]
    assert sorted(named) == ["github.environments.deploy.0", "githup", "state_bucket"]


def test_bucket_and_key_stay_when_the_stack_is_destroyed(story: Story) -> None:
    assert not story.destroyed.succeeded
    assert not [urn for urn in requested(story.destroyed, "delete") if ":Bucket::" in urn or ":Key::" in urn]
