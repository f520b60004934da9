"""Stack file of the bootstrap: values that it refuses, all at once."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
import yaml

from bootstrap.settings import Settings, read
from tests.projects import CHECKOUT
from tests.recording import record

FILE = CHECKOUT / "bootstrap" / "Pulumi.prod.yaml"


def tracked() -> dict[str, Any]:
    """Return the keys of the tracked stack file without `mlops:`."""
    config = yaml.safe_load(FILE.read_text())["config"]
    return {key.removeprefix("mlops:"): value for key, value in config.items() if key.startswith("mlops:")}


def settings(**changes: object) -> Settings:
    found: list[Settings] = []
    record(lambda: found.append(read()), config={**tracked(), **changes}, stack="prod")
    return found[0]


def github(**changes: object) -> dict[str, Any]:
    return {**tracked()["github"], **changes}


def refused(config: Mapping[str, object]) -> list[str]:
    """Return the lines of the refusal."""
    with pytest.raises(pulumi.RunError) as error:
        record(read, config=config, stack="prod")
    return str(error.value).splitlines()


def test_a_file_that_names_no_form_of_subject_trusts_ids_alone() -> None:
    assert settings().github.subjects_of("prod") == ["repo:example@123456/mlops@456789:environment:prod"]


def test_both_forms_of_the_subject_can_be_named() -> None:
    both = settings(github=github(subjects=["ids", "names"])).github.subjects_of("prod")
    assert both == ["repo:example@123456/mlops@456789:environment:prod", "repo:example/mlops:environment:prod"]


WRONG: Mapping[str, tuple[object, str]] = {
    "github.repository": ("https://github.com/example/mlops", "as OWNER/NAME"),
    "github.owner_id": ("123456", "without quotes"),
    "github.repository_id": (0, "at least 1"),
    "github.subjects.0": (["id"], "must be ids or names"),
    "github.environments.deploy.0": ({"deploy": ["*"], "preview": ["p"]}, "a pattern is not possible"),
    "github.environments.preview": ({"deploy": ["prod"], "preview": ["prod"]}, "must not name an environment of dep"),
    "github.environments.deploy": ({"deploy": [], "preview": ["p"]}, "must be a list of one environment or more"),
    "github.provider": ("none", "must be new or existing"),
    "github.owner": (1, "did you mean owner_id?"),
}


@pytest.mark.parametrize("path", WRONG)
def test_a_value_that_would_trust_no_identity_or_too_many_is_refused(path: str) -> None:
    value, said = WRONG[path]
    headline, line = refused({**tracked(), "github": github(**{path.split(".")[1]: value})})
    assert headline == "1 problem in Pulumi.prod.yaml; nothing was touched"
    assert line.startswith(f"Pulumi.prod.yaml: mlops:{path} is ")
    assert said in line


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("copies", {"environments": ["prod"]}, "must not name an environment of another role"),
        ("copies", {"environments": ["dev"]}, "must not name an environment of another role"),
        ("copies.environments", {"environments": []}, "must be a list of one environment or more"),
        ("copies.source.stack", {"source": {"stack": "*", "bucket": "example-mlops-dev"}}, "the name of a stack"),
        ("copies.target.bucket", {"target": {"stack": "prod", "bucket": "My.Bucket"}}, "My.Bucket"),
    ],
)
def test_a_role_for_copies_that_could_do_more_or_nothing_is_refused(
    path: str, value: Mapping[str, object], said: str
) -> None:
    headline, line = refused({**tracked(), "copies": {**tracked()["copies"], **value}})
    assert headline == "1 problem in Pulumi.prod.yaml; nothing was touched"
    assert line.startswith(f"Pulumi.prod.yaml: mlops:{path} is ")
    assert said in line


def test_a_role_for_training_shares_no_environment_with_the_one_that_deploys() -> None:
    _, line = refused({**tracked(), "training": {"environments": ["prod"], "stack": "dev"}})
    assert line.startswith("Pulumi.prod.yaml: mlops:training is ")
    assert "must not name an environment of another role" in line


def test_all_problems_of_a_file_are_listed_in_one_refusal() -> None:
    lines = refused({"account_id": "1234", "state_bucket": "My.State", "state": "x", "github": {"subjects": []}})
    named = {line.removeprefix("Pulumi.prod.yaml: mlops:").split()[0] for line in lines[1:]}
    missing = {f"github.{key}" for key in ("environments", "owner_id", "repository", "repository_id")}
    assert named == {"account_id", "state_bucket", "state", "github.subjects", *missing}
