"""Messages about callers' tokens and limits that cannot be."""

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from infra.config import problems as found
from infra.config.callers import Auth
from infra.config.stack import Settings
from tests.infra.config.test_aws import ENDPOINT, with_ingress
from tests.infra.config.test_stack import problems
from tests.stacks import changed

NAME = "endpoints.churn-predictor"
AUTH: Mapping[str, object] = {"issuer": "https://login.example.com/", "audience": "churn"}
VALID: Mapping[str, object] = {"images.envoy": "lab.local/envoy:1", f"{NAME}.auth": AUTH}
SECRET_KEY = '{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB", "d": "x"}]}'
WRONG: list[tuple[Mapping[str, object], str]] = [
    ({f"{NAME}.auth": {**AUTH, "issuer": "http://login.example.com"}}, "issuer is"),
    ({f"{NAME}.auth": {**AUTH, "issuer": "https://login.example.com?x"}}, "must be an https URL without a query"),
    ({f"{NAME}.auth": {"issuer": "https://login.example.com"}}, "audience is missing: must be a text of 1 to 256"),
    ({f"{NAME}.auth": {**AUTH, "audience": ""}}, "must be a text of 1 to 256 printable characters"),
    ({f"{NAME}.auth": {**AUTH, "jwks": "http://login.example.com/keys"}}, "must be the https URL of a JSON Web Key"),
    ({f"{NAME}.auth": {**AUTH, "jwks": "{}"}}, "must be the https URL of a JSON Web Key Set, or the set itself"),
    ({f"{NAME}.auth": {**AUTH, "jwks": SECRET_KEY}}, "with public keys only"),
    ({f"{NAME}.limits": {"requests_per_minute": 0}}, "must be a whole number of requests from 1 to 1000000"),
    ({f"{NAME}.auth": None, f"{NAME}.limits": {"requests_per_minute": 60}}, "limits is used without auth: must be"),
    ({"images.envoy": None}, "used with auth in churn-predictor: must be used with mlops:images.envoy"),
]


def test_tokens_and_a_limit_are_accepted_with_and_without_the_place_of_the_keys() -> None:
    limited = {**VALID, f"{NAME}.limits": {"requests_per_minute": 60}}
    assert not problems(changed(limited))
    for keys in ("https://login.example.com:8443/keys", '{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB"}]}'):
        assert not problems(changed({**limited, f"{NAME}.auth": {**AUTH, "jwks": keys}}))


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_is_one_line_with_its_rule_reason_and_what_to_write(
    change: Mapping[str, object], message: str
) -> None:
    (line,) = problems(changed({**VALID, **change}))
    assert message in line
    assert "; " in line.partition(", because ")[2]


def test_tokens_do_not_travel_in_plain_text() -> None:
    tree = with_ingress(ENDPOINT, {"host": "churn.example.com"})
    tree["images"] = {**tree["images"], "envoy": "registry.example/envoy:1"}
    tree["endpoints"]["churn"]["auth"] = AUTH
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(tree)
    (problem,) = found.of(caught.value, Settings)
    assert problem.path == "endpoints.churn.auth"
    assert problem.found == "is used with an ingress for churn.example.com that has no certificate_arn"


@pytest.mark.parametrize("issuer", ["https://login.example.com", "https://login.example.com/"])
def test_the_keys_are_below_the_issuer_unless_the_stack_file_names_them(issuer: str) -> None:
    assert Auth(issuer=issuer, audience="churn").keys == "https://login.example.com/.well-known/jwks.json"
