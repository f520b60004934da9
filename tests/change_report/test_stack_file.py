"""Differences between the stack files of a base and of the working tree."""

from typing import Any

import pytest

from change_report.stack_file import StackFileError, changed_keys, gate, read, releases
from model_preview.facts import Change, Reference

BASE = {
    "aws:region": "eu-west-1",
    "mlops:endpoints": {"churn": {"version": 7, "replicas": {"min": 3, "max": 20}}, "gone": {"version": 1}},
    "mlops:database_password": {"secure": "v1:a"},
}


def endpoints(**entries: Any) -> dict[str, Any]:
    return {"mlops:endpoints": entries}


def served(**entries: Any) -> dict[str, tuple[Reference | None, Reference | None]]:
    return {name: (each.old, each.new) for name, each in releases(BASE, endpoints(**entries)).items()}


def test_a_changed_key_is_one_line_and_a_secret_is_hidden() -> None:
    now = {
        "aws:region": "eu-west-1",
        "mlops:endpoints": {"churn": {"version": 8, "replicas": {"min": 3, "max": 20}}, "added": {"version": 2}},
        "mlops:database_password": {"secure": "v1:b"},
    }
    assert {each.path: (each.old, each.new) for each in changed_keys(BASE, now)} == {
        "mlops:endpoints.churn.version": ("7", "8"),
        "mlops:endpoints.added": (None, '{"version": 2}'),
        "mlops:endpoints.gone": ('{"version": 1}', None),
        "mlops:database_password": ("[secret]", "[secret]"),
    }


def test_a_base_with_other_keys_is_compared_key_by_key() -> None:
    former = {"mlops:serving": {"churn": 7}}
    assert [each.path for each in changed_keys(former, BASE)][-1] == "mlops:serving"
    assert releases(former, BASE)["churn"].old is None


def test_new_removed_and_bumped_endpoints_are_changes_and_others_are_not() -> None:
    one = Reference(model="churn", version=7)
    assert served(churn={"version": 7, "replicas": {"min": 1}}, gone={"version": 1}) == {}
    assert served(churn={"version": 8}, added={"version": 2}) == {
        "churn": (one, Reference(model="churn", version=8)),
        "added": (None, Reference(model="added", version=2)),
        "gone": (Reference(model="gone", version=1), None),
    }


def test_an_endpoint_with_another_model_is_a_change() -> None:
    entry = {"version": 7, "model": "churn-predictor", "digest": "sha256:0a"}
    _, new = served(churn=entry, gone={"version": 1})["churn"]
    assert new == Reference(model="churn-predictor", version=7, digest="sha256:0a")


def test_another_digest_of_the_same_version_is_a_change_and_a_new_one_beside_it_is_none() -> None:
    plain, stated, other = ({"version": 7} | more for more in ({}, {"digest": "sha256:0a"}, {"digest": "sha256:0b"}))
    assert not releases(endpoints(churn=plain), endpoints(churn=stated))
    (changed,) = releases(endpoints(churn=stated), endpoints(churn=other)).values()
    assert changed.new == Reference(model="churn", version=7, digest="sha256:0b")


def test_a_new_challenger_is_a_change_beside_the_served_version_and_a_batch_is_one_of_its_own() -> None:
    before = endpoints(churn={"version": 7, "image": "auto"})
    after = endpoints(churn={"version": 7, "image": "auto", "challenger": {"version": 8}, "shadow": None})
    found = releases(before, {**after, "mlops:batch": {"nightly": {"model": "churn", "version": 7}}}, strict=True)
    served = Reference(model="churn", version=7)
    assert found == {
        "churn-challenger": Change(
            endpoint="churn-challenger", old=served, new=Reference(model="churn", version=8), role="challenger"
        ),
        "nightly": Change(endpoint="nightly", old=None, new=served, role="batch"),
    }
    assert gate(before, after, "churn-challenger").image == "auto"
    (ended,) = releases(after, before).values()
    assert (ended.endpoint, ended.new) == ("churn-challenger", None)


def test_an_override_of_white_space_is_none() -> None:
    before, after = endpoints(churn={"version": 7}), endpoints(churn={"version": 8, "override": "  "})
    assert gate(before, after, "churn").override == ""


@pytest.mark.parametrize("entry", [{"version": "latest"}, {"version": 0}, {"replicas": 1}, 7, None, {"version": True}])
def test_an_entry_without_a_version_is_an_error_only_in_the_new_file(entry: Any) -> None:
    assert releases(endpoints(churn=entry), BASE)["churn"].old is None
    with pytest.raises(StackFileError, match=r"^mlops:endpoints\.churn.* is not valid .*; write it as in version: 7$"):
        releases(BASE, endpoints(churn=entry), strict=True)


@pytest.mark.parametrize("entries", ["churn", ["churn"], 7])
def test_endpoints_that_are_no_mapping_are_an_error_in_the_new_file(entries: Any) -> None:
    with pytest.raises(StackFileError, match=r"^mlops:endpoints is not valid"):
        releases({}, {"mlops:endpoints": entries}, strict=True)


@pytest.mark.parametrize("text", ["config: [", "- a list", "just text", "config: text", "config: [1]", "\t- x"])
def test_a_text_that_is_no_stack_file_is_named_on_one_line(text: str) -> None:
    with pytest.raises(StackFileError, match=r"^main:Pulumi\.prod\.yaml (is not YAML|has no mapping)") as error:
        read(text, "main:Pulumi.prod.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "config:", "config: {}", "encryptionsalt: v1:x"])
def test_a_stack_file_may_have_no_configuration(text: str) -> None:
    assert read(text, "Pulumi.prod.yaml") == {}


@pytest.mark.parametrize(
    ("config", "protected"),
    [
        ({}, False),
        ({"mlops:foundation": {"kind": "local"}}, False),
        ({"mlops:foundation": {"kind": "aws", "database": {}}}, True),
        (
            {"mlops:foundation": {"kind": "aws", "database": {"protected": False}, "cluster": {"protected": False}}},
            True,
        ),
        ({"mlops:foundation": {"kind": "aws"}}, True),
        (
            {
                "mlops:foundation": {
                    "kind": "aws",
                    "database": {"protected": False},
                    "artifacts": {"protected": False},
                    "cluster": {"kind": "existing"},
                }
            },
            False,
        ),
    ],
)
def test_a_stack_is_protected_unless_each_part_says_otherwise(config: dict[str, Any], protected: bool) -> None:
    assert gate({}, config, "churn").protected is protected


def test_the_gate_takes_the_reasons_of_both_files() -> None:
    before = endpoints(churn={"version": 7, "override": "then"})
    after = endpoints(churn={"version": 8, "override": "now", "allow_breaking_signature": "agreed"})
    found = gate(before, {**after, "mlops:gate": {"mode": "warn", "digest": "require"}}, "churn")
    assert (found.override, found.served_override, found.allow_breaking_signature, found.mode) == (
        "now", "then", "agreed", "warn",
    )  # fmt: skip


def test_a_gate_of_another_form_is_an_error() -> None:
    with pytest.raises(StackFileError, match=r"^mlops:gate\.mode is not valid"):
        gate({}, {"mlops:gate": {"mode": "perhaps"}}, "churn")
