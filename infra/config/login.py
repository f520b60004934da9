"""Settings of the login to MLflow's web page with a browser, with their rules."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from infra.config.callers import HTTPS, TokenIssuer, a_url
from infra.config.rules import Rule
from infra.config.secret_rules import SecretRule

ClientId = Annotated[
    str,
    StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$"),
    Rule(
        must="must be a text of 1 to 256 printable characters without spaces",
        because="the issuer knows MLflow as a client by it, and ID tokens for other clients are refused",
        instead="write the ID that the issuer gave when you registered MLflow there, as in client_id: mlflow",
    ),
]
Endpoint = Annotated[
    str,
    StringConstraints(pattern=HTTPS, max_length=512),
    AfterValidator(a_url),
    Rule(
        must="must be an https URL without a query",
        because="passwords, codes and tokens travel there",
        instead="write the value of this name in the issuer's /.well-known/openid-configuration",
    ),
]
Scopes = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,64}$")], ...],
    Rule(
        must="must be a list of scopes with openid among them",
        because="without the scope openid the issuer gives no ID token",
        instead="write scopes: [openid], and the scope of your issuer that adds the groups, as in [openid, groups]",
    ),
]
Claim = Annotated[
    str,
    StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$"),
    Rule(
        must="must be the name of a claim: 1 to 128 printable characters without spaces",
        because="the groups in this claim of the ID token decide what a person may do",
        instead="write it as in groups_claim: groups, or cognito:groups for Amazon Cognito",
    ),
]
Groups = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^\S(.{0,254}\S)?$")], ...],
    Field(max_length=50),
    Rule(
        must="must be a list of at most 50 names of groups",
        because="each is compared with the groups in the ID token",
        instead="write the names or IDs as the issuer writes them into the claim, as in [data-science]",
    ),
]
SOME_GROUPS = Rule(
    must="must name a group in viewers or promoters",
    because="otherwise a person who logs in may see nothing",
    instead="write viewers: [GROUP] with a group of your issuer",
)
NEEDS_IDENTITIES = Rule(
    must="must be used with authenticated: true",
    because="the proxy that verifies the callers of MLflow is also the one that sends browsers to the issuer",
    instead="write authenticated: true beside it, or remove login",
)
NEEDS_HTTPS = Rule(
    must="must be used with an ingress that has certificate_arn",
    because="browsers come through the load balancer, and send the cookies of the login over HTTPS only",
    instead="write ingress: {host: ..., certificate_arn: ...} beside it, or use `mlops mlflow` and remove login",
)


class Login(TokenIssuer):
    """Login to MLflow's web page with OpenID Connect; register `https://HOST/login/callback` at the issuer."""

    secrets: ClassVar[Mapping[str, SecretRule]] = {
        "login_client_secret": SecretRule(
            pattern=r"[!-~]{8,512}",
            must="must be 8 to 512 printable ASCII characters without spaces",
            because="the issuer accepts codes from anyone who knows it",
        ),
        "login_cookie_key": SecretRule(
            pattern=r"[!-~]{32,128}",
            must="must be 32 to 128 printable ASCII characters without spaces",
            because="anyone who guesses it can forge the cookies of a login",
        ),
    }
    client_id: ClientId
    """ID that the issuer gave to MLflow; the secret `mlops:login_client_secret` belongs to it. Example: mlflow"""
    authorization_endpoint: Endpoint
    """URL of the issuer's login page. Example: https://login.example.com/oauth2/v1/authorize"""
    token_endpoint: Endpoint
    """URL at which MLflow's gateway gets the ID token. Example: https://login.example.com/oauth2/v1/token"""
    end_session_endpoint: Endpoint | None = None
    """URL at which the issuer ends its own session; without it, a logout ends MLflow's session only.
    Example: https://login.example.com/oauth2/v1/logout
    """
    scopes: Scopes = ("openid",)
    """Scopes that the gateway requests. Example: [openid, groups]"""
    groups_claim: Claim = "groups"
    """Claim of the ID token that has the groups of a person: a list of texts, or one text. Example: cognito:groups"""
    viewers: Groups = ()
    """Groups that may read, with the rights of `mlflow-people`. Example: [data-science]"""
    promoters: Groups = ()
    """Groups that may also move aliases, write tags and delete, with the rights of `mlflow-promoter`.
    Example: [ml-leads]
    """

    @field_validator("scopes")
    @classmethod
    def _of_openid_connect(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scopes:
            raise ValueError(scopes)
        return scopes

    @field_validator("promoters")
    @classmethod
    def _for_some_people(cls, groups: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not groups and not info.data.get("viewers", True):
            raise SOME_GROUPS.broken("empty, and viewers too")
        return groups


def checked(login: Login | None, tracking: Mapping[str, Any]) -> Login | None:
    """Return the entry after its checks against the other keys of MLflow."""
    if login is None:
        return None
    if not tracking.get("authenticated", True):
        raise NEEDS_IDENTITIES.broken("used without authenticated")
    ingress = tracking.get("ingress", login)
    if ingress is None or (ingress is not login and ingress.certificate_arn is None):
        raise NEEDS_HTTPS.broken("used without an ingress that has certificate_arn")
    return login
