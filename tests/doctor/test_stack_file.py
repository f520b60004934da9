"""Stack files, as the doctor reads them."""

from pathlib import Path

import pytest

from doctor.stack_file import StackFileError, read
from infra.config.aws import AwsFoundation
from tests.doctor.stacks import write
from tests.projects import CHECKOUT


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_a_tracked_stack_is_read_without_the_engine(name: str) -> None:
    stack = read(name, CHECKOUT / "doctor")
    assert isinstance(stack.settings.foundation, AwsFoundation)
    assert (stack.name, stack.full_name, stack.region) == (name, f"mlops-{name}", "eu-west-1")
    assert stack.missing_secrets == ("database_password",)


def test_organization_and_project_before_the_name_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {})
    assert read("acme/mlops/prod", tmp_path).name == "prod"


def test_a_secret_is_neither_missing_nor_among_the_settings(tmp_path: Path) -> None:
    write(tmp_path, {"database_password": {"secure": "v1:hidden"}})
    stack = read("prod", tmp_path)
    assert not stack.missing_secrets
    assert "hidden" not in str(stack)


def test_a_stack_without_a_file_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    write(tmp_path, {})
    with pytest.raises(StackFileError, match=r"there is no Pulumi.pro.yaml in .*; stacks with a file: prod"):
        read("pro", tmp_path)


def test_a_folder_without_a_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackFileError, match=r"there is no Pulumi.yaml in .* run the command in the repository"):
        read("prod", tmp_path)


def test_a_wrong_file_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    write(tmp_path, {"tracking.replicas": 0, "endpoints.churn-predictor.version": "latest", "tracing": {}})
    with pytest.raises(StackFileError) as refused:
        read("prod", tmp_path)
    lines = str(refused.value).splitlines()
    assert [line.split(" ")[1] for line in lines] == [
        "mlops:tracking.replicas",
        "mlops:endpoints.churn-predictor.version",
        "mlops:tracing",
    ]


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {}).write_text("config: [")
    with pytest.raises(StackFileError, match=r"Pulumi.prod.yaml cannot be read"):
        read("prod", tmp_path)
