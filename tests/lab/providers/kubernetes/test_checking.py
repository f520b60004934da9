"""Inputs as they go into the state."""

from typing import Any

import pytest

from lab.providers.kubernetes.checking import InvalidInputError, Naming, checked, not_an_object
from lab.providers.kubernetes.objects import Token, autoname, parse_type
from lab.providers.values import UNKNOWN, Secret

CONFIG_MAP = Token("v1", "ConfigMap")
NAMING = Naming(resource="settings", seed=b"seed")


def check(news: dict[str, Any], olds: dict[str, Any] | None = None, token: Token = CONFIG_MAP) -> dict[str, Any]:
    return checked(news, olds or {}, token, NAMING, namespace_for=lambda _: "default")


def test_a_nameless_object_is_named_after_its_resource_and_keeps_the_name() -> None:
    first = check({"data": {"a": "1"}})
    name = first["metadata"]["name"]
    assert name == autoname("settings", b"seed")
    assert len(name) == len("settings-") + 8
    assert first["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}

    again = checked({}, first, CONFIG_MAP, Naming(resource="settings", seed=b"other"), namespace_for=lambda _: None)
    assert again["metadata"]["name"] == name


def test_a_name_that_was_given_up_is_not_kept() -> None:
    assert check({}, {"metadata": {"name": "fixed"}})["metadata"]["name"] == autoname("settings", b"seed")


def test_a_long_name_still_fits_a_label() -> None:
    assert len(autoname("x" * 300, b"seed")) == 63


def test_kind_and_namespace_are_filled_in() -> None:
    inputs = check({"metadata": {"name": "fixed"}})
    assert (inputs["apiVersion"], inputs["kind"]) == ("v1", "ConfigMap")
    assert inputs["metadata"] == {"name": "fixed", "namespace": "default"}


def test_what_is_unknown_stays_unknown() -> None:
    assert check({"metadata": UNKNOWN})["metadata"] is UNKNOWN
    assert check({"metadata": {"name": UNKNOWN}})["metadata"]["name"] is UNKNOWN


def test_the_contents_of_a_secret_are_secret_whatever_the_program_said() -> None:
    inputs = check({"data": {"a": "eA=="}, "stringData": {"b": "y"}}, token=Token("v1", "Secret"))
    assert (inputs["data"], inputs["stringData"]) == (Secret({"a": "eA=="}), Secret({"b": "y"}))


@pytest.mark.parametrize(
    ("news", "token", "naming", "where"),
    [
        ({}, Token("v1", "ConfigMap", patch=True), NAMING, "metadata.name"),
        ({"metadata": {"generateName": "x-"}}, CONFIG_MAP, NAMING, "metadata.generateName"),
        ({}, CONFIG_MAP, Naming(resource="settings", seed=b"", required=True), "metadata.name"),
    ],
)
def test_a_name_that_cannot_be_made_is_asked_for(news: Any, token: Token, naming: Naming, where: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        checked(news, {}, token, naming, namespace_for=lambda _: None)
    assert refused.value.where == where


@pytest.mark.parametrize(
    ("resource_type", "token"),
    [
        ("kubernetes:core/v1:ConfigMap", CONFIG_MAP),
        ("mlops:index:Endpoint$kubernetes:apps/v1:Deployment", Token("apps/v1", "Deployment")),
        ("kubernetes:core/v1:ConfigMapPatch", Token("v1", "ConfigMap", patch=True)),
        ("kubernetes:example.com/v1:Thing", Token("example.com/v1", "Thing")),
    ],
)
def test_a_type_names_a_kind(resource_type: str, token: Token) -> None:
    assert parse_type(resource_type) == token


def test_charts_and_yaml_files_are_no_objects() -> None:
    several = ["kubernetes:helm.sh/v3:Release", "kubernetes:yaml/v2:ConfigFile", "kubernetes:kustomize/v2:Directory"]
    assert all(map(not_an_object, several))
    assert not not_an_object("kubernetes:core/v1:ConfigMap")
