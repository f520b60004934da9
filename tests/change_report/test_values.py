"""Differences of inputs, as a reviewer reads them."""

import json
from typing import Any

import pytest

from change_report.values import LATER, LONGEST, Field, at, differences, unknown
from model_preview.redact import HIDDEN
from tests.change_report.examples import LATER as UNKNOWN
from tests.change_report.examples import SECRET


def told(old: Any, new: Any) -> dict[str, tuple[str | None, str | None]]:
    return {each.path: (each.old, each.new) for each in differences(old, new)}


def env(**variables: str) -> dict[str, Any]:
    return {"env": [{"name": name, "value": value} for name, value in variables.items()]}


def test_a_variable_in_the_middle_of_a_list_is_one_added_field() -> None:
    assert told(env(A="1", C="3"), env(A="1", B="2", C="4")) == {
        "env[B]": (None, '{"name": "B", "value": "2"}'),
        "env[C].value": ("3", "4"),
    }


def test_elements_without_a_name_have_their_number() -> None:
    assert told({"zones": ["a", "b"]}, {"zones": ["a", "c", "d"]}) == {"zones[1]": ("b", "c"), "zones[2]": (None, "d")}


def test_a_policy_in_json_is_compared_statement_by_statement() -> None:
    policies = [{"policy": json.dumps({"Statement": [{"Action": ["s3:GetObject", action]}]})} for action in "ab"]
    assert told(*policies) == {"policy.Statement[0].Action[1]": ("a", "b")}


def test_a_key_with_a_dot_is_quoted() -> None:
    assert told({"labels": {"a.b/c": 1}}, {"labels": {"a.b/c": 2}}) == {'labels["a.b/c"]': ("1", "2")}


def test_a_value_that_is_not_known_yet_is_called_so() -> None:
    assert told({"arn": "arn:aws:a"}, {"arn": UNKNOWN}) == {"arn": ("arn:aws:a", LATER)}
    assert unknown({"a": UNKNOWN, "b": [f"x{UNKNOWN}", {"c": UNKNOWN}], "d": "plain", "e": 1}) == 3


@pytest.mark.parametrize(
    "path", ["password", "masterPassword", "env[API_TOKEN].value", "spec.credentials", "data.client_secret"]
)
def test_text_with_the_name_of_a_secret_is_hidden(path: str) -> None:
    """Providers mark secrets, and a program may forget to."""
    *above, last = path.replace("env[API_TOKEN].value", "env.API_TOKEN").split(".")

    def tree(value: str) -> Any:
        inner: Any = [{"name": last, "value": value}] if above == ["env"] else {last: value}
        return {above[0]: inner} if above else inner

    assert told(tree("hunter1"), tree("hunter2")) == {path: (HIDDEN, HIDDEN)}
    ((_, (_, added)),) = told({}, {"x": tree("hunter2")}).items()
    assert added
    assert "hunter2" not in added


def test_what_the_provider_or_a_stack_file_encrypts_is_a_secret() -> None:
    assert told({"password": {"secure": "v1:old"}}, {"password": {"secure": "v1:new"}}) == {
        "password": (SECRET, SECRET)
    }
    assert told({}, {"password": {"secure": "v1:new"}}) == {"password": (None, SECRET)}


def test_a_long_value_is_cut_around_the_first_difference() -> None:
    old, new = f"registry.example.com/{'x' * 90}/image:3.17.2", f"registry.example.com/{'x' * 90}/image:3.18.0"
    ((before, after),) = told({"image": old}, {"image": new}).values()
    assert before
    assert after
    assert (before.startswith("…"), before[-6:], after[-6:]) == (True, "3.17.2", "3.18.0")
    assert max(len(before), len(after)) <= LONGEST


def test_a_credential_in_a_long_value_is_hidden_before_the_value_is_cut() -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    assert key[:8] not in str(told({"note": "a" * 80}, {"note": " ".join(["a" * 50, key, "b" * 40])}))


def test_numbers_and_truth_values_are_shown_as_json() -> None:
    assert list(differences({"a": 1, "b": True}, {"a": 2, "b": None})) == [
        Field(path="a", old="1", new="2"),
        Field(path="b", old="true", new=None),
    ]


@pytest.mark.parametrize(
    ("path", "found"),
    [("a[0].b", 1), ('a[1]["x.y"]', 2), ("a[7].b", None), ("a.b", None), ("nothing", None), ("a[0].b.c", None)],
)
def test_a_path_of_pulumi_leads_to_its_value(path: str, found: object) -> None:
    assert at({"a": [{"b": 1}, {"x.y": 2}]}, path) == found
