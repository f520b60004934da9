"""What an editor knows of a stack file."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra import schema
from infra.settings import Settings
from tests.stacks import LOCAL, SECRETS

CONFIG: dict[str, Any] = json.loads(schema.document())["properties"]["config"]


def test_the_schema_in_the_repository_is_that_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_schema_is_an_error_that_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "FILE", tmp_path / "stack.schema.json")
    assert schema.main(["--check"]) == 1
    assert "run make schema" in capsys.readouterr().err
    assert schema.main([]) == 0
    assert schema.main(["--check"]) == 0


def test_every_key_of_ours_is_known_and_no_other() -> None:
    (unknown,) = CONFIG["patternProperties"]
    for key in [*LOCAL, *SECRETS, *Settings.model_fields]:
        assert f"mlops:{key}" in CONFIG["properties"]
        assert not re.search(unknown, f"mlops:{key}")
    assert re.search(unknown, "mlops:endpoint")
    assert not re.search(unknown, "aws:region")


def test_a_secret_can_only_be_written_encrypted() -> None:
    secret = CONFIG["properties"]["mlops:database_password"]
    assert secret["required"] == ["secure"]
    assert secret["type"] == "object"


def test_a_key_says_what_it_takes_and_why() -> None:
    version = json.loads(schema.document())["$defs"]["Endpoint"]["properties"]["version"]
    assert version["type"] == "integer"
    assert version["minimum"] == 1
    assert "Must be a whole number of at least 1" in version["description"]
    assert "because a release names exactly one registered version" in version["description"]


def test_no_key_is_without_a_rule_of_its_own() -> None:
    definitions: dict[str, Any] = json.loads(schema.document())["$defs"]
    without = [
        f"{model}.{key}"
        for model, definition in definitions.items()
        for key, value in definition["properties"].items()
        if key != "kind" and "description" not in value and not holds_others(value)
    ]
    assert without == []


def holds_others(value: dict[str, Any]) -> bool:
    """A mapping or list, whose entries have rules, or one that can be left out."""
    alternatives = [value, *value.get("anyOf", []), *value.get("oneOf", [])]
    return any(
        {"$ref", "additionalProperties", "items", "patternProperties"} & set(each) for each in alternatives
    ) or any("description" in each for each in alternatives)
