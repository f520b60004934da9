"""Configuration of the two Envoy proxies between MLflow and its clients, as plain data.

The gateway is in MLflow's pod. It verifies the caller's token, which the cluster's API server issues for a service
account and the audience `mlflow`, and allows a request by the account's name and the route (ACCESS). MLflow listens on
a socket file that only the gateway opens, so no forwarded port goes around it.

The client's proxy is in the pod of a client. It listens on localhost and adds the pod's own token to each request, so
the client needs no change. The kubelet replaces the token before it expires, and the proxy reads the new one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components import mlflow_login
from components.mlflow_login import Login
from contract import names

Json = dict[str, object]

SOCKET = "/run/mlflow/mlflow.sock"
"""Socket file on which MLflow listens."""
CONFIGURATION = "/etc/envoy"
"""Folder of the files `envoy.json` and `token.json`."""
TOKENS = "/var/run/secrets/mlflow"
"""Folder of the projected token, in the file `token`; in the gateway also of the cluster's CA, `ca.crt`."""
READY_PORT = 5010
"""Port on which a client's proxy responds 200 to the kubelet."""
METRICS_PORT = 5011
"""Port on which the gateway shows Envoy's metrics at /metrics, and nothing else."""
API_SERVER = "kubernetes.default.svc"
REQUEST_SECONDS = 300
KEYS_SECONDS = 300
"""Seconds after which the gateway asks the API server for its keys again."""
BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Requests that some identities may make."""

    methods: Sequence[str]
    """HTTP methods."""
    path: str
    """Regular expression of the whole path, without the query."""
    identities: Sequence[str]
    """Names in IDENTITIES, or DRIFT."""


IDENTITIES: Mapping[str, str] = {
    "training": f"system:serviceaccount:{names.TRAINING}:training",
    "validation": f"system:serviceaccount:{names.TRAINING}:validation",
    "promoter": f"system:serviceaccount:{names.PLATFORM}:{names.PROMOTER}",
    "people": f"system:serviceaccount:{names.PLATFORM}:{names.PEOPLE}",
    "exporter": f"system:serviceaccount:{names.PLATFORM}:{names.EXPORTER}",
}
"""Service accounts that MLflow knows, as tokens name them."""
DRIFT = "drift"
"""Name of the identity of the drift jobs; each endpoint with a drift job has a service account."""
READERS = tuple(name for name in (*IDENTITIES, DRIFT) if name != "exporter")
_API = "/(ajax-)?api/2\\.0/mlflow/"
OPEN = "/(health|version)"
"""Paths that need no token."""
CLOSED = ".*/mlflow/(gateway-proxy|assistant/.*|artifacts/presigned-upload-url)"
"""Paths that GET must not reach: they call other servers, or give rights to write."""
ACCESS: Sequence[Rule] = (
    Rule(methods=("GET",), path=f"{_API}(registered-models|model-versions)/search", identities=("exporter",)),
    Rule(
        methods=("GET",),
        path="/|/static-files/.*|(/model-versions)?/get-artifact|/(ajax-)?api/[23]\\.0/mlflow/.*",
        identities=READERS,
    ),
    Rule(
        methods=("POST",),
        path=f"/graphql|{_API}((experiments|runs|logged-models)/search|experiments/search-datasets"
        "|registered-models/get-latest-versions)|/(ajax-)?api/3\\.0/mlflow/traces/(search|metrics|batchGetInfos)",
        identities=READERS,
    ),
    Rule(
        methods=("POST",),
        path=f"{_API}(experiments/create|runs/(create|update|set-tag|delete-tag|log-(metric|parameter|batch|inputs|model)"
        "|outputs)|logged-models(/[^/]+/params)?|registered-models/create)",
        identities=("training", "validation"),
    ),
    Rule(
        methods=("PATCH",),
        path=f"{_API}(logged-models/[^/]+(/tags)?|model-versions/update)",
        identities=("training", "validation"),
    ),
    Rule(methods=("POST",), path=f"{_API}model-versions/create", identities=("training",)),
    Rule(methods=("POST",), path=f"{_API}model-versions/set-tag", identities=("validation", "promoter", DRIFT)),
    Rule(methods=("DELETE",), path=f"{_API}model-versions/delete-tag", identities=("validation", "promoter")),
    Rule(
        methods=("POST", "PATCH", "DELETE"),
        path=f"{_API}(registered-models|model-versions)/(alias|set-tag|delete-tag|delete|update|rename|transition-stage)",
        identities=("promoter",),
    ),
    # The runs that hold the reports of drift jobs, `mlops drift --record` and `mlops compare --record`.
    Rule(methods=("POST",), path=f"{_API}(experiments/create|runs/(create|update))", identities=("promoter", DRIFT)),
    Rule(
        methods=("POST",),
        path=f"{_API}(runs|experiments)/(delete|restore)",
        identities=("promoter",),
    ),
)
"""Requests that MLflow gets; the gateway refuses all others. docs/security.md shows it as a table."""


def allowed(identity: str, method: str, path: str) -> bool:
    """Return whether an identity may make a request; `path` has no query."""
    if method == "GET" and re.fullmatch(OPEN, path):
        return True
    return any(
        identity in rule.identities and method in rule.methods and re.fullmatch(rule.path, path) is not None
        for rule in ACCESS
    ) and not (method == "GET" and re.fullmatch(CLOSED, path))


def gateway(
    *,
    trainers: Sequence[str] = (),
    watchers: Sequence[str] = (),
    login: Login | None = None,
    socket: str = SOCKET,
    port: int = names.TRACKING_PORT,
    metrics_port: int = METRICS_PORT,
    keys: Json | None = None,
) -> Json:
    """Return the configuration of the proxy in MLflow's pod.

    Args:
        trainers: further service accounts of training Jobs, in the namespace ml-training.
        watchers: service accounts of drift jobs, in the namespace ml-training.
        login: issuer at which people log in with a browser; None for none.
        socket: socket file on which MLflow listens.
        port: TCP port of the gateway.
        metrics_port: TCP port of /metrics.
        keys: source of the keys that sign tokens, as the field of Envoy's JwtProvider; None: the cluster's API server.
    """
    provider: Json = {
        "audiences": [names.TRACKING_AUDIENCE],
        "require_expiration": True,
        "clock_skew_seconds": 10,
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": "jwt",
        **(keys or {"remote_jwks": _remote_keys()}),
    }
    providers = {"cluster": provider, **({mlflow_login.METADATA: mlflow_login.provider(login)} if login else {})}
    filters = [
        *([mlflow_login.oauth2(login, open_paths=OPEN)] if login else []),
        _filter(
            "jwt_authn",
            "jwt_authn.v3.JwtAuthentication",
            providers=providers,
            rules=[
                {"match": _regex(OPEN)},
                *([mlflow_login.rule(login)] if login else []),
                {"match": {"prefix": "/"}, "requires": {"provider_name": "cluster"}},
            ],
        ),
        _filter("rbac", "rbac.v3.RBAC", rules={"policies": _policies(trainers, watchers, login)}),
    ]
    admin: Json = {"pipe": {"path": f"{socket}.admin"}}
    metrics: Json = {
        "match": {"path": "/metrics"},
        "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"},
    }
    return _bootstrap(
        "mlflow-gateway",
        listeners=[
            _listener("0.0.0.0", port, filters, cluster="mlflow", replies=_replies(login), cookies=login is None),
            _plain_listener("metrics", metrics_port, metrics),
        ],
        clusters=[
            _cluster("mlflow", {"pipe": {"path": socket}}),
            _cluster("admin", admin),
            *([] if keys else [_api_server()]),
            *(mlflow_login.clusters(login) if login else []),
        ],
        # A socket file, because people may forward ports of this pod, and the interface can also stop Envoy.
        admin={"address": admin},
        runtime=mlflow_login.RUNTIME if login else None,
    )


def client() -> Json:
    """Return the configuration of the proxy in a client's pod."""
    injector = _filter(
        "credential_injector", "credential_injector.v3.CredentialInjector", overwrite=True, credential=_credential()
    )
    service = names.TRACKING_HOST
    return _bootstrap(
        "mlflow-client",
        listeners=[
            _listener("127.0.0.1", names.TRACKING_PORT, [injector], cluster="mlflow", host=service),
            _plain_listener("ready", READY_PORT, {"match": {"prefix": "/"}, "direct_response": {"status": 200}}),
        ],
        clusters=[
            _cluster("mlflow", _address(*service.rsplit(":")), kind="STRICT_DNS"),
        ],
    )


def token() -> Json:
    """Return the file `token.json`, by which Envoy reads the token and reads it again when it is replaced."""
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "token",
        "generic_secret": {
            "secret": {"filename": f"{TOKENS}/token", "watched_directory": {"path": TOKENS}},
        },
    }
    return {"resources": [secret]}


def _policies(trainers: Sequence[str], watchers: Sequence[str], login: Login | None) -> Json:
    subjects = {name: [subject] for name, subject in IDENTITIES.items()} | {DRIFT: list[str]()}
    for name, accounts in (("training", trainers), (DRIFT, watchers)):
        subjects[name] += [f"system:serviceaccount:{names.TRAINING}:{account}" for account in accounts]
    people = {name: mlflow_login.principals(login, name) if login else () for name in subjects}
    policies: Json = {
        "open": {
            "principals": [{"any": True}],
            "permissions": [_all_of(_method("GET"), {"url_path": {"path": _regex(OPEN)}})],
        }
    }
    for place, rule in enumerate(ACCESS):
        closed: list[Json] = [{"not_rule": {"url_path": {"path": _regex(CLOSED)}}}] if "GET" in rule.methods else []
        policies[f"rule-{place}"] = {
            "principals": [
                principal
                for each in rule.identities
                for principal in (*(_principal(one) for one in subjects[each]), *people[each])
            ],
            "permissions": [
                _all_of(_method(method), {"url_path": {"path": _regex(rule.path)}}, *closed) for method in rule.methods
            ],
        }
    return policies


def _principal(subject: str) -> Json:
    matcher: Json = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "jwt"}, {"key": "sub"}],
        "value": {"string_match": {"exact": subject}},
    }
    return {"sourced_metadata": {"metadata_matcher": matcher}}


def _replies(login: Login | None) -> Json:
    """Return replies in the form of MLflow's errors, which its client shows to the user."""

    def reply(status: int, code: str, message: str) -> Json:
        return {
            "filter": {
                "status_code_filter": {
                    "comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": f"reply.{status}"}}
                }
            },
            "body_format_override": {
                "json_format": {"error_code": code, "message": message},
                "content_type": "application/json",
            },
        }

    unknown = (
        "MLflow asks who you are, and %LOCAL_REPLY_BODY%; send a token for a service account with the audience mlflow"
        + (f", or log in with a browser at https://{login.host}" if login else "")
    )
    refused = "%LOCAL_REPLY_BODY%: this account may not make this request to MLflow (docs/security.md)"
    return {"mappers": [reply(401, "UNAUTHENTICATED", unknown), reply(403, "PERMISSION_DENIED", refused)]}


def _remote_keys() -> Json:
    uri = {"uri": f"https://{API_SERVER}/openid/v1/jwks", "cluster": "api-server", "timeout": "5s"}
    return {
        "http_uri": uri,
        "cache_duration": f"{KEYS_SECONDS}s",
        "async_fetch": {"fast_listener": False, "failed_refetch_duration": "5s"},
        "retry_policy": {"num_retries": 3},
    }


def _api_server() -> Json:
    tls = _typed(
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=API_SERVER,
        common_tls_context={
            "validation_context": {
                "trusted_ca": {"filename": f"{TOKENS}/ca.crt"},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": API_SERVER}}],
            }
        },
    )
    options = _typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http_protocol_options": {}},
        http_filters=[
            _filter(
                "credential_injector",
                "credential_injector.v3.CredentialInjector",
                overwrite=True,
                credential=_credential(),
            ),
            _filter("upstream_codec", "upstream_codec.v3.UpstreamCodec"),
        ],
    )
    return {
        **_cluster("api-server", _address(API_SERVER, "443"), kind="STRICT_DNS"),
        "transport_socket": {"name": "tls", "typed_config": tls},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def _credential() -> Json:
    source = {"path_config_source": {"path": f"{CONFIGURATION}/token.json"}}
    generic = _typed(
        "extensions.http.injected_credentials.generic.v3.Generic",
        credential={"name": "token", "sds_config": source},
        header="Authorization",
        header_value_prefix="Bearer ",
    )
    return {"name": "envoy.http.injected_credentials.generic", "typed_config": generic}


def _bootstrap(
    name: str,
    *,
    listeners: Sequence[Json],
    clusters: Sequence[Json],
    runtime: Mapping[str, object] | None = None,
    **more: Json,
) -> Json:
    limits: Json = {"re2.max_program_size.error_level": 1000, **(runtime or {})}
    return {
        "node": {"id": name, "cluster": name},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": limits}]},
        "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
        **more,
    }


def _listener(
    address: str,
    port: int,
    filters: Sequence[Json],
    *,
    cluster: str,
    host: str = "",
    replies: Json | None = None,
    cookies: bool = True,
) -> Json:
    route: Json = {"cluster": cluster, "timeout": f"{REQUEST_SECONDS}s"}
    if host:
        route["host_rewrite_literal"] = host
    manager = _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=cluster,
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        route_config={
            "virtual_hosts": [
                {
                    "name": cluster,
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": route}],
                    # MLflow reads no cookie, and must not get the ID tokens in them.
                    **({} if cookies else {"request_headers_to_remove": ["cookie"]}),
                }
            ]
        },
        http_filters=[*filters, _filter("router", "router.v3.Router")],
        **({"local_reply_config": replies} if replies else {}),
    )
    return {
        **_address(address, str(port), key="address"),
        "per_connection_buffer_limit_bytes": BYTES,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _plain_listener(name: str, port: int, route: Json) -> Json:
    """Return a listener with one route and without a filter."""
    manager = _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        route_config={"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        http_filters=[_filter("router", "router.v3.Router")],
    )
    return {
        **_address("0.0.0.0", str(port), key="address"),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _cluster(name: str, endpoint: Json, *, kind: str = "STATIC") -> Json:
    address = endpoint if "pipe" in endpoint else {"socket_address": endpoint["socket_address"]}
    return {
        "name": name,
        "type": kind,
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _address(host: str, port: str, *, key: str = "") -> Json:
    found: Json = {"socket_address": {"address": host, "port_value": int(port)}}
    return {key: found} if key else found


def _filter(name: str, kind: str, **fields: object) -> Json:
    return {"name": f"envoy.filters.http.{name}", "typed_config": _typed(f"extensions.filters.http.{kind}", **fields)}


def _typed(kind: str, **fields: object) -> Json:
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def _regex(pattern: str) -> Json:
    return {"safe_regex": {"regex": pattern}}


def _method(method: str) -> Json:
    return {"header": {"name": ":method", "string_match": {"exact": method}}}


def _all_of(*rules: Json) -> Json:
    return {"and_rules": {"rules": list(rules)}}
