"""Warnings about issuers whose keys cannot be read, against a real HTTPS server."""

import json
from pathlib import Path

import pytest

from infra.config.callers import Auth
from infra.token_issuers import fault
from tests.issuer import Issuer


def test_an_issuer_that_does_not_respond_is_named_with_what_clients_get() -> None:
    sentence = fault(Auth(issuer="https://localhost:1", audience="churn"))
    assert "cannot be read at https://localhost:1/.well-known/jwks.json from this machine" in sentence
    assert "refuse all requests with 503; write the URL of the keys under jwks" in sentence


def test_keys_that_are_elsewhere_are_found_on_the_issuers_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, pages = Issuer(), dict[str, str]()
    with issuer.serving(tmp_path, pages=pages) as (keys, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        base = keys.removesuffix("/keys")
        pages["/.well-known/openid-configuration"] = json.dumps({"issuer": base, "jwks_uri": keys})
        sentence = fault(Auth(issuer=base, audience="churn"))
        assert "(HTTP Error 404: Not Found)" in sentence
        assert sentence.endswith(f"write jwks: {keys}, which {base}/.well-known/openid-configuration names")
        assert fault(Auth(issuer=base, audience="churn", jwks=keys)) == ""


def test_keys_in_the_stack_file_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", pytest.fail)
    assert fault(Auth(issuer="https://localhost:1", audience="churn", jwks=Issuer().key_set)) == ""
