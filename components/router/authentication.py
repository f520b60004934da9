"""Authentication of an endpoint's callers, as parts of Envoy's configuration: tokens, and a limit for each caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

OPEN = ("/ping", "/health")
"""Paths of the load balancer's health checks, which need no token."""
CLUSTER = "token-keys"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""File in the router's image with the authorities that sign the certificates of issuers."""
KEYS_SECONDS = 300
"""Seconds after which a router asks the issuer for its keys again."""
CLOCK_SECONDS = 10
"""Seconds by which the clocks of issuer and router may differ."""
MOST_CALLERS = 10_000
"""Number of callers whose requests a router counts at the same time; it forgets the one that asked least recently."""
_JWT = "envoy.filters.http.jwt_authn"
_TYPES = "type.googleapis.com/envoy."


@dataclass(frozen=True, kw_only=True)
class Callers:
    """Tokens that callers of an endpoint must send, and the limit for each caller."""

    issuer: str
    """Issuer of the tokens: their claim `iss`."""
    audience: str
    """Audience of the tokens: one of their claim `aud`."""
    keys: str
    """HTTPS URL of the keys that sign tokens, or the keys themselves, in the form of a JSON Web Key Set."""
    requests_per_minute: int | None = None
    """Number of requests of one caller, by the claim `sub`, that each router accepts in a minute; None: no limit."""
    authorities: str = AUTHORITIES
    """File with the authorities that sign the certificate of the keys' server."""

    @property
    def port(self) -> int | None:
        """TCP port of the keys' server; None if the keys are written here."""
        return None if self.keys.startswith("{") else urlsplit(self.keys).port or 443


def filters(callers: Callers) -> Sequence[Json]:
    """Return the filters that refuse a request without a valid token, and one of a caller above its limit."""
    provider: Json = {
        **verified(callers),
        # The pods do not get the token.
        "forward": False,
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": "jwt",
    }
    rules: list[Json] = [{"match": {"path": path}} for path in OPEN]
    rules.append({"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}})
    tokens = _filter("jwt_authn", "jwt_authn.v3.JwtAuthentication", providers={"issuer": provider}, rules=rules)
    limit = callers.requests_per_minute
    return [tokens, _limit(limit)] if limit else [tokens]


def verified(callers: Callers) -> Json:
    """Return the part of a JwtProvider that verifies issuer, audience, expiry and signature of a token."""
    return {
        "issuer": callers.issuer,
        "audiences": [callers.audience],
        "require_expiration": True,
        "clock_skew_seconds": CLOCK_SECONDS,
        **_keys(callers),
    }


def counted(callers: Callers) -> Json:
    """Return the part of a route that names the caller of a request to the filter of the limit."""
    if not callers.requests_per_minute:
        return {}
    subject: Json = {
        "descriptor_key": "caller",
        "metadata_key": {"key": _JWT, "path": [{"key": "jwt"}, {"key": "sub"}]},
        # Tokens without a subject are one caller.
        "default_value": "none",
    }
    return {"rate_limits": [{"actions": [{"metadata": subject}]}]}


def clusters(callers: Callers) -> Sequence[Json]:
    """Return the cluster of the keys' server; none if the keys are written in the configuration."""
    if callers.port is None:
        return []
    return [https_cluster(CLUSTER, callers.keys, callers.authorities)]


def https_cluster(name: str, url: str, authorities: str) -> Json:
    """Return the cluster of the server of an https URL, whose certificate must be one of the authorities for its host.

    Args:
        name: name of the cluster.
        url: https URL at the server.
        authorities: file with the certificates (PEM) of the authorities.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    validation: Json = {
        "trusted_ca": {"filename": authorities},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
    }
    tls = {
        "@type": f"{_TYPES}extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": host,
        "common_tls_context": {"validation_context": validation},
    }
    address = {"socket_address": {"address": host, "port_value": port}}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }


def replies(callers: Callers) -> Json:
    """Return the bodies of refusals, in the form of the model server's errors."""
    why, header = "%LOCAL_REPLY_BODY%", "in the header Authorization: Bearer TOKEN"
    wanted = f"a token of {_plain(callers.issuer)} for the audience {_plain(callers.audience)}"
    unknown = (
        f"This endpoint accepts only requests with {wanted}, and the request was refused: {why}. Send one {header}."
    )
    away = (
        f"The keys of {_plain(callers.issuer)} cannot be read, so no token can be verified: {why}. Try again later; "
        "the operator of this endpoint must make the keys reachable for its routers."
    )
    limit = callers.requests_per_minute
    many = (
        f"A caller may send {limit} requests per minute, and this one sent more. Try again after Retry-After seconds."
    )
    return {
        "mappers": [
            {**_reply("TEMPORARILY_UNAVAILABLE", away), "filter": _keys_are_away(), "status_code": 503},
            {**_reply("UNAUTHENTICATED", unknown), "filter": _status(401)},
            {**_reply("PERMISSION_DENIED", unknown), "filter": _status(403)},
            {**_reply("RESOURCE_EXHAUSTED", many), "filter": _status(429)},
        ]
    }


def _keys(callers: Callers) -> Json:
    if callers.port is None:
        return {"local_jwks": {"inline_string": callers.keys}}
    return {
        "remote_jwks": {
            "http_uri": {"uri": callers.keys, "cluster": CLUSTER, "timeout": "5s"},
            "cache_duration": f"{KEYS_SECONDS}s",
            # The first requests of a new router must not wait for the keys; the keys that a router has stay valid
            # while the issuer does not respond.
            "async_fetch": {"fast_listener": False, "failed_refetch_duration": "5s"},
        }
    }


def _limit(requests_per_minute: int) -> Json:
    """Return the filter with a bucket of tokens for each caller, which is full at first and after an idle minute."""
    bucket: Json = {
        "max_tokens": requests_per_minute,
        "tokens_per_fill": requests_per_minute,
        "fill_interval": "60s",
    }
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    seconds = max(1, 60 // requests_per_minute)
    return _filter(
        "local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="callers",
        filter_enabled=always,
        filter_enforced=always,
        descriptors=[{"entries": [{"key": "caller"}], "token_bucket": bucket}],
        max_dynamic_descriptors=MOST_CALLERS,
        always_consume_default_token_bucket=False,
        response_headers_to_add=[{"header": {"key": "retry-after", "value": str(seconds)}}],
    )


def _reply(code: str, message: str) -> Json:
    body = {"json_format": {"error_code": code, "message": message}, "content_type": "application/json"}
    return {"body_format_override": body}


def _status(status: int) -> Json:
    value = {"default_value": status, "runtime_key": f"callers.{status}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _keys_are_away() -> Json:
    cel: Mapping[str, str] = {
        "@type": f"{_TYPES}extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": "response.code_details.contains('Jwks_remote_fetch')",
    }
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": cel}}


def _plain(text: str) -> str:
    """Return text that Envoy's formatter does not change."""
    return text.replace("%", "%%")


def _filter(name: str, kind: str, **fields: object) -> Json:
    config = {"@type": f"{_TYPES}extensions.filters.http.{kind}", **fields}
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}
