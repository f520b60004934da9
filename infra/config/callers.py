"""Settings of an endpoint's callers: the tokens that they must send, and the limit for each of them."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError

from infra.config.rules import Rule
from infra.config.section import Model

DEFAULT_KEYS = "/.well-known/jwks.json"
"""Path below the issuer at which many issuers publish their keys."""
HTTPS = r"^https://[A-Za-z0-9.-]+(:\d{1,5})?(/[^\s?#]*)?$"
_SETS = TypeAdapter(dict[str, list[dict[str, Any]]])


def a_url(text: str) -> str:
    """Return the URL; ValueError if its port is not one."""
    port = urlsplit(text).port  # ValueError above 65535
    if port == 0:
        raise ValueError(text)
    return text


def _keys(text: str) -> str:
    """Return a URL, or a JSON Web Key Set of public keys."""
    if not text.startswith("{"):
        return a_url(text)
    try:
        keys = _SETS.validate_python(json.loads(text)).get("keys", [])
    except ValidationError:
        keys = []
    if not keys or any("kty" not in key or "d" in key or "k" in key for key in keys):
        raise ValueError("no key, or a secret key")
    return text


Issuer = Annotated[
    str,
    StringConstraints(pattern=HTTPS, max_length=512),
    AfterValidator(a_url),
    Rule(
        must="must be an https URL without a query",
        because="tokens name their issuer by this URL in the claim iss, and a token of another issuer is refused",
        instead="write the issuer as your tokens have it, also with its last slash, as in "
        "issuer: https://login.example.com/",
    ),
]
Audience = Annotated[
    str,
    StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$"),
    Rule(
        must="must be a text of 1 to 256 printable characters without spaces",
        because="a token for another audience, such as another service of the same issuer, is refused",
        instead="write what your issuer puts into the claim aud for this endpoint, as in audience: churn-predictor",
    ),
]
Keys = Annotated[
    str,
    StringConstraints(pattern=rf"{HTTPS}|^\{{", max_length=65_536),
    AfterValidator(_keys),
    Rule(
        must="must be the https URL of a JSON Web Key Set, or the set itself as text, with public keys only",
        because="the routers verify the tokens with these keys",
        instead="write the jwks_uri of the issuer's /.well-known/openid-configuration, or leave the key out for "
        f"ISSUER{DEFAULT_KEYS}",
    ),
]
PerMinute = Annotated[
    int,
    Field(strict=True, ge=1, le=1_000_000),
    Rule(
        must="must be a whole number of requests from 1 to 1000000",
        because="a caller that sends more in a minute is refused with 429",
        instead="write it as in requests_per_minute: 600",
    ),
]
BY_TOKEN = Rule(
    must="must be used with auth",
    because="a caller is known by its token",
    instead="write auth: {issuer: ..., audience: ...} beside it, or remove limits",
)
ENCRYPTED = Rule(
    must="must be used with an ingress that has certificate_arn",
    because="callers send their tokens through the load balancer, and over plain HTTP others can read and use them",
    instead="write the ARN of the certificate under ingress.certificate_arn, or remove ingress",
)


class TokenIssuer(Model):
    """Issuer of tokens (JWT), and its keys."""

    issuer: Issuer
    """Issuer of the tokens, as their claim `iss` has it. Example: https://login.example.com/"""
    jwks: Keys | None = None
    """Keys of the issuer: the https URL of its JSON Web Key Set, or the set as text. Default: the issuer followed by
    `/.well-known/jwks.json`.
    Example: https://login.example.com/oauth2/v1/keys
    """

    @property
    def keys(self) -> str:
        """HTTPS URL of the keys, or the keys."""
        return self.jwks or f"{self.issuer.rstrip('/')}{DEFAULT_KEYS}"


class Auth(TokenIssuer):
    """Tokens (JWT) that callers of the endpoint must send; without them a request is refused."""

    audience: Audience
    """Audience of the tokens: one of their claim `aud`. Example: churn-predictor"""


class CallerLimits(Model):
    """Limits for each caller of the endpoint."""

    requests_per_minute: PerMinute
    """Requests of one caller, by the token's claim `sub`, that each of the two routers accepts in a minute.
    Example: 600
    """


def checked_auth(auth: Auth | None, endpoint: Mapping[str, Any]) -> Auth | None:
    """Return the entry after its checks against the ingress of the endpoint."""
    ingress = endpoint.get("ingress")
    if auth and ingress and ingress.certificate_arn is None:
        raise ENCRYPTED.broken(f"used with an ingress for {ingress.host} that has no certificate_arn")
    return auth


def checked_limits(limits: CallerLimits | None, endpoint: Mapping[str, Any]) -> CallerLimits | None:
    """Return the entry after its check that callers are known."""
    if limits and endpoint.get("auth", limits) is None:
        raise BY_TOKEN.broken("used without auth")
    return limits
