"""Login of people to MLflow's web page with OpenID Connect, as parts of the gateway's Envoy configuration.

Envoy's filter `oauth2` sends a browser to the issuer's login page, exchanges the code that the browser brings back for
tokens, and keeps them in cookies that only it can read. The filter `jwt_authn` then verifies the ID token at each
request, and the groups in it decide what the person may do. Programs go on sending tokens of service accounts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from components.router import authentication
from components.router.authentication import Callers

Json = dict[str, object]

SECRETS = "/var/run/secrets/login"
"""Folder with the files CLIENT_SECRET and COOKIE_KEY."""
CLIENT_SECRET = "client-secret"
COOKIE_KEY = "cookie-key"
CALLBACK = "/login/callback"
"""Path to which the issuer sends the browser back."""
LOGOUT = "/logout"
"""Path that deletes the cookies."""
METADATA = "login"
"""Key under which the filter `jwt_authn` stores the claims of an ID token."""
ID_TOKEN = "x-mlflow-id-token"
"""Header in which the filter `oauth2` gives the ID token to the filter `jwt_authn`; it removes a caller's own."""
RUNTIME: Mapping[str, object] = {
    "envoy.reloadable_features.oauth2_use_gcm_encryption": True,
    "envoy.reloadable_features.oauth2_legacy_cbc_decrypt_compat": False,
}
"""Envoy's switches for authenticated encryption of the tokens in cookies (CVE-2026-47775)."""
_CLUSTER = "login"
_COOKIES = ("bearer_token", "id_token", "oauth_hmac", "oauth_expires", "oauth_nonce", "code_verifier")
_PAGES_DATA = "/(ajax-)?api/.*|/graphql.*"
"""Requests of the page's script, which cannot follow a redirect to another host."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """Issuer at which people log in to MLflow, and the groups that may use it."""

    host: str
    """Host name of MLflow's ingress; other hosts have no login."""
    tokens: Callers
    """Issuer of the ID tokens, its keys, and the client ID as their audience."""
    authorization_endpoint: str
    """HTTPS URL of the issuer's login page."""
    token_endpoint: str
    """HTTPS URL at which the gateway exchanges the code for tokens."""
    end_session_endpoint: str | None = None
    """HTTPS URL at which the issuer ends its own session; None: logout deletes the cookies only."""
    scopes: Sequence[str] = ("openid",)
    """Scopes that the gateway requests."""
    groups_claim: str = "groups"
    """Claim of the ID token with the person's groups: a list of texts, or one text."""
    groups: Mapping[str, Sequence[str]]
    """Groups of the issuer, by the identity in mlflow_gateway.IDENTITIES whose rights they have."""

    @property
    def ports(self) -> Sequence[int]:
        """TCP ports of the issuer to which the gateway connects."""
        return sorted({_port(self.token_endpoint), *([self.tokens.port] if self.tokens.port else [])})


def provider(login: Login) -> Json:
    """Return the JwtProvider of the ID tokens, which the filter `oauth2` has decrypted."""
    return {
        **authentication.verified(login.tokens),
        "from_headers": [{"name": ID_TOKEN}],
        "payload_in_metadata": METADATA,
    }


def rule(login: Login) -> Json:
    """Return the rule that a request of a browser needs an ID token, and no other token counts for it."""
    no_bearer: Json = {**_BEARER, "invert_match": True, "treat_missing_header_as_empty": True}
    browser: Json = {"prefix": "/", "headers": [_host(login), no_bearer]}
    return {"match": browser, "requires": {"provider_name": METADATA}}


def principals(login: Login, identity: str) -> Sequence[Json]:
    """Return the principals, in the form of Envoy's RBAC, of the groups that have the rights of an identity."""
    return [
        {
            "sourced_metadata": {
                "metadata_matcher": {
                    "filter": "envoy.filters.http.jwt_authn",
                    "path": [{"key": METADATA}, {"key": login.groups_claim}],
                    "value": value,
                }
            }
        }
        for group in login.groups.get(identity, ())
        for text in [{"string_match": {"exact": group}}]
        for value in (text, {"list_match": {"one_of": text}})
    ]


def clusters(login: Login) -> Sequence[Json]:
    """Return the clusters of the issuer's two servers: tokens and keys."""
    tokens = authentication.https_cluster(_CLUSTER, login.token_endpoint, login.tokens.authorities)
    return [tokens, *authentication.clusters(login.tokens)]


def secret_files() -> Mapping[str, str]:
    """Return the files by which Envoy finds the two secrets, by name."""
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return {
        f"{name}.json": json.dumps(
            {
                "resources": [
                    {"@type": kind, "name": name, "generic_secret": {"secret": {"filename": f"{SECRETS}/{name}"}}}
                ]
            }
        )
        for name in (CLIENT_SECRET, COOKIE_KEY)
    }


def oauth2(login: Login, *, open_paths: str) -> Json:
    """Return the filter that sends browsers without a session to the issuer.

    Args:
        login: issuer and groups.
        open_paths: regular expression of the paths that need no identity.
    """
    config: Json = {
        "token_endpoint": {"cluster": _CLUSTER, "uri": login.token_endpoint, "timeout": "5s"},
        "authorization_endpoint": login.authorization_endpoint,
        "redirect_uri": f"https://{login.host}{CALLBACK}",
        # The load balancer ends TLS, so Envoy itself would write http.
        "original_request_uri": f"https://{login.host}",
        "redirect_path_matcher": {"path": {"exact": CALLBACK}},
        "signout_path": {"path": {"exact": LOGOUT}},
        "auth_scopes": list(login.scopes),
        "auth_type": "BASIC_AUTH",
        # When the ID token expires, the issuer decides again whether the person may log in.
        "use_refresh_token": False,
        "disable_access_token_set_cookie": True,
        "credentials": {
            "client_id": login.tokens.audience,
            "token_secret": _secret(CLIENT_SECRET),
            "hmac_secret": _secret(COOKIE_KEY),
            # Browsers accept the prefix __Host- from this host over HTTPS only, not from a page of a sibling host.
            "cookie_names": {name: f"__Host-mlflow-{name.replace('_', '-')}" for name in _COOKIES},
        },
        # The browser comes back from the issuer's host, where it would not send a `Strict` cookie.
        "cookie_configs": {f"{name}_cookie_config": {"same_site": "LAX"} for name in _COOKIES},
        "forward_id_token": {"header": ID_TOKEN},
        "pass_through_matcher": [
            {**_host(login), "invert_match": True},
            _BEARER,
            {"name": ":path", "string_match": {"safe_regex": {"regex": open_paths}}},
        ],
        "deny_redirect_matcher": [
            {"name": ":method", "string_match": {"exact": "GET"}, "invert_match": True},
            {"name": ":path", "string_match": {"safe_regex": {"regex": _PAGES_DATA}}},
        ],
        "preserve_authorization_header": True,
    }
    if login.end_session_endpoint:
        config["end_session_endpoint"] = login.end_session_endpoint
        config["post_logout_redirect_uri"] = {"uri": f"https://{login.host}/"}
    kind = "type.googleapis.com/envoy.extensions.filters.http.oauth2.v3.OAuth2"
    return {"name": "envoy.filters.http.oauth2", "typed_config": {"@type": kind, "config": config}}


_BEARER: Json = {"name": "authorization", "string_match": {"prefix": "Bearer "}}


def _host(login: Login) -> Json:
    return {"name": ":authority", "string_match": {"exact": login.host}}


def _secret(name: str) -> Json:
    return {"name": name, "sds_config": {"path_config_source": {"path": f"{SECRETS}/{name}.json"}}}


def _port(url: str) -> int:
    return urlsplit(url).port or 443
