"""Warnings about issuers of callers' tokens that this machine cannot ask for their keys."""

import urllib.request
from collections.abc import Mapping

import pulumi
from pydantic import TypeAdapter, ValidationError

from infra.config.callers import Auth
from infra.config.problems import PREFIX

SECONDS = 5
"""Timeout in seconds of one request."""
MOST_BYTES = 1 << 20
_OBJECT = TypeAdapter(dict[str, object])


def warn(asked: Mapping[str, Auth]) -> None:
    """Log a warning for each endpoint whose issuer does not give its keys. The routers are not stopped by it."""
    for endpoint, auth in asked.items():
        if sentence := fault(auth):
            pulumi.log.warn(f"{PREFIX}endpoints.{endpoint}.auth: {sentence}")


def fault(auth: Auth) -> str:
    """Return what is wrong with the keys of an issuer; empty if they can be read, or are in the stack file."""
    if not auth.keys.startswith("https://"):
        return ""
    try:
        if _read(auth.keys).get("keys"):
            return ""
        reason = "it has no key"
    except (OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
    return (
        f"the keys of the issuer cannot be read at {auth.keys} from this machine ({reason}), and routers that cannot "
        f"read them refuse all requests with 503; {_instead(auth)}"
    )


def _instead(auth: Auth) -> str:
    """Return what to write, by the page on which an issuer of OpenID Connect names its keys."""
    page = f"{auth.issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        named = _read(page).get("jwks_uri")
    except (OSError, ValueError):
        named = None
    if isinstance(named, str) and named != auth.keys:
        return f"write jwks: {named}, which {page} names"
    return "write the URL of the keys under jwks, or make it reachable from the cluster"


def _read(url: str) -> Mapping[str, object]:
    with urllib.request.urlopen(url, timeout=SECONDS) as response:
        text = response.read(MOST_BYTES)
    try:
        return _OBJECT.validate_json(text)
    except ValidationError:
        raise ValueError("it is not a JSON object") from None
