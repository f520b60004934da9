"""Messages about a login to MLflow that cannot be."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from infra.config import problems as found
from infra.config.stack import Settings, secrets_of
from tests.infra.config.test_aws import PUBLIC, TRACKING, with_ingress

LOGIN: Mapping[str, object] = {
    "issuer": "https://login.example.com/",
    "client_id": "mlflow",
    "authorization_endpoint": "https://login.example.com/authorize",
    "token_endpoint": "https://login.example.com/token",
    "viewers": ["data-science"],
}
INGRESS = {"host": "mlflow.example.com", "certificate_arn": PUBLIC["certificate_arn"]}
# changed keys of the login, of the rest of mlops:tracking, part of the message
WRONG: list[tuple[Mapping[str, object], Mapping[str, object], str]] = [
    ({"issuer": "http://login.example.com/"}, {}, "tracking.login.issuer is"),
    ({"token_endpoint": "http://login.example.com/token"}, {}, "must be an https URL without a query"),
    ({"authorization_endpoint": "https://login.example.com/?a=b"}, {}, "must be an https URL without a query"),
    ({"client_id": ""}, {}, "ID tokens for other clients are refused"),
    ({"scopes": ["groups"]}, {}, "must be a list of scopes with openid among them"),
    ({"viewers": []}, {}, "must name a group in viewers or promoters"),
    ({"groups_claim": "a claim"}, {}, "must be the name of a claim"),
    ({"client_secret": "x"}, {}, "tracking.login.client_secret is unknown"),
    ({}, {"authenticated": False}, "login is used without authenticated"),
    ({}, {"ingress": None}, "login is used without an ingress that has certificate_arn"),
    ({}, {"ingress": {"host": "mlflow.example.com"}}, "login is used without an ingress that has certificate_arn"),
    ({}, {"ingress": {**INGRESS, "host": "*.example.com"}}, "tracking.ingress.host is"),
]


def lines(login: Mapping[str, object], rest: Mapping[str, object]) -> list[str]:
    tree: dict[str, Any] = with_ingress(TRACKING, INGRESS)
    tree["images"] = {**tree["images"], "envoy": "registry.example/envoy:1"}
    tree["tracking"] |= {"authenticated": True, "login": {**LOGIN, **login}, **rest}
    try:
        Settings.model_validate(tree)
    except ValidationError as error:
        return [problem.line("Pulumi.prod.yaml") for problem in found.of(error, Settings)]
    return []


@pytest.mark.parametrize(("login", "rest", "message"), WRONG, ids=[str(case[:2])[:70] for case in WRONG])
def test_what_cannot_be_is_one_line_with_its_rule_reason_and_what_to_write(
    login: Mapping[str, object], rest: Mapping[str, object], message: str
) -> None:
    (line,) = lines(login, rest)
    assert message in line
    assert "; " in line.partition(", because ")[2]


def test_a_login_for_one_group_at_an_encrypted_ingress_is_accepted() -> None:
    assert not lines({}, {})
    assert not lines({"viewers": [], "promoters": ["leads"], "scopes": ["openid", "groups"]}, {})


def test_the_two_secrets_are_needed_only_with_a_login() -> None:
    added = secrets_of({"tracking": {"login": LOGIN}}).keys() - secrets_of({"tracking": {}}).keys()
    assert added == {"login_client_secret", "login_cookie_key"}
