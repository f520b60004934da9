"""JSON Schema of the stack file, as editors use it."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from infra.config import schema
from infra.config.section import Model
from infra.config.stack import Settings
from tests.stacks import LOCAL, SECRETS

CONFIG: dict[str, Any] = schema.tree()["properties"]["config"]
DEFINITIONS: dict[str, Any] = schema.tree()["$defs"]


def models() -> list[type[Model]]:
    """Return the settings classes of infra/ that are sections, independently of the schema's own search."""
    found, unseen = list[type[Model]](), [Model]
    while unseen:
        found += (below := unseen.pop().__subclasses__())
        unseen += below
    ours = [model for model in found if model.__module__.startswith("infra.")]
    return [model for model in ours if model.__name__ in DEFINITIONS or model is Settings or not model.__subclasses__()]


def test_schema_and_reference_in_the_repository_are_those_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_schema_is_an_error_that_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "ROOT", tmp_path)
    assert schema.main([]) == 0
    assert schema.main(["--check"]) == 0
    (tmp_path / "docs/stack-file.md").write_text("older")
    assert schema.main(["--check"]) == 1
    error = capsys.readouterr().err
    assert "docs/stack-file.md" in error
    assert "stack.schema.json" not in error
    assert "run make schema" in error


def test_an_editor_accepts_the_folder_alone_as_outcomes() -> None:
    endpoints = {"$defs": DEFINITIONS, **CONFIG["properties"]["mlops:endpoints"]}
    outcomes = "s3://mlops-artifacts/outcomes/"
    jsonschema.validate({"churn-predictor": {"version": 1, "drift": {}, "outcomes": outcomes}}, endpoints)


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


def test_a_key_says_what_it_means_what_it_takes_and_why() -> None:
    version = DEFINITIONS["Endpoint"]["properties"]["version"]
    assert version["type"] == "integer"
    assert version["minimum"] == 1
    assert version["description"].startswith("Version of the registered model that is served.")
    assert "Must be a whole number of at least 1" in version["description"]
    assert "because a release names exactly one registered version" in version["description"]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_field_has_a_description_of_its_own(model: type[Model]) -> None:
    fields = CONFIG["properties"] if model is Settings else DEFINITIONS[model.__name__]["properties"]
    prefix = "mlops:" if model is Settings else ""
    meanings = {key: fields[prefix + key].get("description", "").split("\n\n")[0] for key in model.model_fields}
    assert not [key for key, meaning in meanings.items() if not meaning or meaning.startswith("Must ")]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_example_is_a_value_that_its_key_takes(model: type[Model]) -> None:
    fields = CONFIG["properties"] if model is Settings else DEFINITIONS[model.__name__]["properties"]
    for key in model.model_fields:
        for example in fields.get(key, {}).get("examples", []):
            assert not refusals(model, key, example)


def refusals(model: type[Model], key: str, value: object) -> list[str]:
    """Return the errors about one key, without those about missing keys."""
    try:
        model.model_validate({key: value})
    except ValidationError as error:
        return [each["msg"] for each in error.errors() if each["loc"][:1] == (key,)]
    return []


def test_no_key_is_without_a_rule_of_its_own() -> None:
    without = [
        f"{model}.{key}"
        for model, definition in DEFINITIONS.items()
        for key, value in definition["properties"].items()
        if key != "kind" and "\n\n" not in value["description"] and not holds_others(value)
    ]
    assert without == []


def holds_others(value: dict[str, Any]) -> bool:
    """Return whether a schema has inner schemas with their own rules: of a mapping, a list or an optional value."""
    alternatives = [*value.get("anyOf", []), *value.get("oneOf", [])]
    others = {"$ref", "additionalProperties", "items", "patternProperties"}
    return bool(others & set(value)) or any("description" in each or holds_others(each) for each in alternatives)


def test_the_reference_has_a_row_for_each_key_and_its_links_lead_to_headings() -> None:
    page = schema.documents()[Path("docs/stack-file.md")]
    rows = re.findall(r"^\| `([\w:]+)` \|", page, re.MULTILINE)
    headings = re.findall(r"^##+ (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert {key for definition in DEFINITIONS.values() for key in definition["properties"]} <= set(rows)
    assert set(re.findall(r"\(#([^)]*)\)", page)) <= anchors
    assert len(anchors) == len(headings)


def test_the_reference_shows_type_default_rule_and_example_of_a_key() -> None:
    page = schema.documents()[Path("docs/stack-file.md")]
    (row,) = [line for line in page.splitlines() if line.startswith("| `cpu_percent` |")]
    key, kind, default, text, example = row.strip("| ").split(" | ")
    assert (key, kind, default, example) == ("`cpu_percent`", "whole number", "`70`", "`70`")
    assert text.startswith("Average CPU use of the pods, in percent")
    assert "Must be a whole number of percent from 10 to 1000" in text
