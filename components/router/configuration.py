"""Configuration of Envoy, which splits and mirrors the requests of one endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.router import authentication
from contract import names

TOTAL = 100
"""Sum of the weights of champion and challenger. With another sum, keys would move between the versions."""
RETRIES = 2
"""Largest number of further attempts for a request whose connection failed."""
DNS_SECONDS = 1
"""Seconds between two DNS requests for the pods of a version."""
PROBE_SECONDS = 2
"""Interval and timeout in seconds of the health checks of a pod."""
PROBES_FAILED = 3
"""Number of failed health checks after which a pod gets no requests."""
IDLE_SECONDS = 5
"""Seconds after which the router closes an idle connection to a pod: less than a stopping pod accepts requests."""
KEEP_ALIVE_SECONDS = 75
"""Seconds after which the router closes an idle connection of a client; load balancers close theirs after 60."""
SHADOW_REQUESTS = 64
"""Largest number of mirrored requests without a response; further ones are not mirrored, and counted."""
MANY = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), 100_000)
"""Limits that are never reached; Envoy's own are 1,024 connections and requests, and 3 retries."""
HEAP_SHARE = 0.9
"""Share of the container's memory above which the router refuses requests with 503."""
EXPERIMENT_HEADER = "x-mlops-experiment"
"""Header with the experiment's name, which the router sets on each request that takes part."""
VERSION_HEADER = "x-model-version"
"""Header by which a client chooses a version, if the stack file allows it."""
NOT_BEGUN_HEADER = "x-mlops-not-begun"
"""Header of a response of a pod that began nothing for the request, because it stops."""
PREDICTIONS = "/invocations"
CHAMPION, CHALLENGER, SHADOW, ADMIN = "champion", "challenger", "shadow", "admin"
CHALLENGER_OR_CHAMPION = "challenger-or-champion"
_TYPES = "type.googleapis.com/envoy."
MUTATION = "envoy.filters.http.header_mutation"
_MUTATION = f"{_TYPES}extensions.filters.http.header_mutation.v3.HeaderMutation"
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Address:
    """Address of pods or processes: a DNS name or an IP address, and two ports."""

    host: str
    """DNS name that resolves to the addresses of all ready pods, or an IP address."""
    port: int = names.SERVING_PORT
    """TCP port for requests."""
    probe_port: int = names.PROBE_PORT
    """TCP port for health checks."""


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """Second version that answers a share of the callers."""

    address: Address
    """Address of the challenger's pods."""
    percent: int
    """Share of the keys that the challenger answers, in percent."""
    key: str
    """Name of the request header by which callers are split."""
    experiment: str
    """Name of the experiment; each name splits the keys independently of all others."""
    patience_seconds: int = 10
    """Seconds after which a request that the challenger has not answered goes to the champion."""
    versions: tuple[int, int] | None = None
    """Numbers of champion and challenger, between which clients may choose by VERSION_HEADER; None: they may not."""


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """Version that gets copies of requests and whose responses are dropped."""

    address: Address
    """Address of the shadow's pods."""
    percent: int
    """Share of the requests that is copied, in percent."""


@dataclass(frozen=True, kw_only=True)
class Router:
    """Settings of the router of one endpoint."""

    champion: Address
    """Address of the champion's pods."""
    challenger: Challenger | None = None
    """Challenger; None if there is none."""
    shadow: Shadow | None = None
    """Shadow; None if there is none."""
    callers: authentication.Callers | None = None
    """Tokens that callers must send; None if everybody may call the endpoint."""
    request_seconds: int
    """Seconds that a pod may take to answer a complete request."""
    max_body_bytes: int
    """Largest body that is mirrored, or sent again after a failed connection; the pods refuse larger ones."""
    memory_bytes: int = 256 << 20
    """Memory limit of the router's container in bytes."""
    path: str = ""
    """Beginning of the path that clients outside the cluster use and the pods remove; empty if there is none."""
    listen: Address = field(default_factory=lambda: Address(host="0.0.0.0"))
    """Address on which the router listens for requests, and for probes and metrics."""
    admin_port: int = 9901
    """Port of Envoy's administration interface on 127.0.0.1."""


def configuration(router: Router) -> Json:
    """Return Envoy's configuration as JSON values."""
    return {
        "admin": {"address": _socket("127.0.0.1", router.admin_port)},
        "overload_manager": _overload(router),
        "static_resources": {
            "clusters": list(_clusters(router)),
            "listeners": [
                _listener("requests", router.listen.host, router.listen.port, _requests(router)),
                _listener("probes", router.listen.host, router.listen.probe_port, _probes()),
            ],
        },
    }


def _overload(router: Router) -> Json:
    """Refuse requests before Kubernetes kills the router for its memory."""
    monitor, action = "envoy.resource_monitors.fixed_heap", "envoy.overload_actions.stop_accepting_requests"
    limit = {"max_heap_size_bytes": int(router.memory_bytes * HEAP_SHARE)}
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [_typed(monitor, "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", limit)],
        "actions": [{"name": action, "triggers": [{"name": monitor, "threshold": {"value": 0.98}}]}],
    }


def _listener(name: str, host: str, port: int, manager: Mapping[str, Any]) -> Json:
    manager = {
        "stat_prefix": name,
        "server_header_transformation": "PASS_THROUGH",
        # Clients are not trusted with Envoy's own headers, such as x-envoy-retry-on.
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": []},
        "preserve_external_request_id": True,
        "max_request_headers_kb": 64,
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {"idle_timeout": f"{KEEP_ALIVE_SECONDS}s", "max_headers_count": 128},
        "http_protocol_options": {"accept_http_10": True},
        **manager,
    }
    path = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    filters = [_typed("envoy.filters.network.http_connection_manager", path, manager)]
    return {"name": name, "address": _socket(host, port), "filter_chains": [{"filters": filters}]}


def _requests(router: Router) -> Json:
    """Return the part of the connection manager that routes requests."""
    host: Json = {
        "name": "endpoint",
        "domains": ["*"],
        "routes": list(_routes(router)),
        "request_body_buffer_limit": router.max_body_bytes,
        "retry_policy": {
            # A request that a pod may have begun is not sent again: it might be what killed the pod.
            "retry_on": "connect-failure,refused-stream,retriable-headers",
            "retriable_headers": [{"name": NOT_BEGUN_HEADER, "present_match": True}],
            "num_retries": RETRIES,
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
            "retry_host_predicate": [
                _typed(
                    "envoy.retry_host_predicates.previous_hosts",
                    "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                    {},
                )
            ],
            "host_selection_retry_max_attempts": 3,
            # The second attempt of a challenger's request goes to the champion.
            "retry_priority": _typed(
                "envoy.retry_priorities.previous_priorities",
                "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                {"update_frequency": 1},
            ),
        },
    }
    refusing: Json = {"local_reply_config": authentication.replies(router.callers)} if router.callers else {}
    return {
        "route_config": {"name": "endpoint", "virtual_hosts": [host]},
        "http_filters": [
            *(authentication.filters(router.callers) if router.callers else []),
            _mutation(),
            _last_filter(),
        ],
        **refusing,
    }


def _routes(router: Router) -> Sequence[Json]:
    """Return the routes in the order in which Envoy tries them."""
    to: Json = {"timeout": f"{router.request_seconds}s"}
    health: list[Json] = []
    if router.callers:
        # Health checks have no token, so nothing counts them.
        health = [{"match": {"path": path}, "route": {**to, "cluster": CHAMPION}} for path in authentication.OPEN]
        to |= authentication.counted(router.callers)
    mirrored = {"request_mirror_policies": [_mirror(router.shadow)]} if router.shadow else {}
    everything = {"prefix": "/"}
    unassigned: Json = {"request_headers_to_remove": [EXPERIMENT_HEADER]}
    to_champion = {**to, "cluster": CHAMPION}
    routes = list[Json]()
    for predictions in ({"prefix": f"{path}{PREDICTIONS}"} for path in dict.fromkeys(("", router.path))):
        if challenger := router.challenger:
            routes += _split(challenger, predictions, {**to, **mirrored})
        routes.append(
            {
                "match": predictions,
                "route": {**to_champion, **mirrored},
                **unassigned,
                **({"stat_prefix": "unassigned"} if router.challenger else {}),
            }
        )
    return [*health, *routes, {"match": everything, "route": to_champion, **unassigned}]


def _split(challenger: Challenger, predictions: Json, to: Json) -> Sequence[Json]:
    """Return the routes of requests that choose a version, and of those with a key."""
    with_key = [
        {"name": challenger.key, "present_match": True},
        {"name": challenger.key, "string_match": {"exact": ""}, "invert_match": True},
    ]
    split = {
        "match": {**predictions, "headers": with_key},
        "stat_prefix": "assigned",
        "request_headers_to_add": [_header(EXPERIMENT_HEADER, challenger.experiment)],
        "route": {
            **to,
            "weighted_clusters": _weights(challenger),
            "hash_policy": [{"header": _salted(challenger)}],
        },
    }
    chosen = [
        {
            "match": {
                **predictions,
                "headers": [{"name": VERSION_HEADER, "string_match": {"exact": str(version)}}],
            },
            "stat_prefix": "chosen",
            "route": {**to, "cluster": cluster},
            "request_headers_to_remove": [EXPERIMENT_HEADER],
        }
        for version, cluster in zip(challenger.versions or (), (CHAMPION, CHALLENGER), strict=False)
    ]
    return [*chosen, split]


def _weights(challenger: Challenger) -> Json:
    """Return the weights; the champion is first, so a larger share adds keys and takes none away."""
    milliseconds = 1000 * challenger.patience_seconds
    return {
        "use_hash_policy": True,
        "clusters": [
            {"name": CHAMPION, "weight": TOTAL - challenger.percent},
            {
                "name": CHALLENGER_OR_CHAMPION,
                "weight": challenger.percent,
                # If a challenger's pod dies or hangs, the champion answers the requests that it had.
                "typed_per_filter_config": {
                    MUTATION: {
                        "@type": f"{_MUTATION}PerRoute",
                        "mutations": {
                            "request_mutations": [
                                {"append": _header("x-envoy-retry-on", "connect-failure,refused-stream,reset")},
                                {"append": _header("x-envoy-upstream-rq-per-try-timeout-ms", f"{milliseconds}")},
                            ]
                        },
                    }
                },
            },
        ],
    }


def _salted(challenger: Challenger) -> Json:
    """Return the hash policy for `experiment:key`."""
    salt = {"pattern": {"regex": "^"}, "substitution": f"{challenger.experiment}:"}
    return {"header_name": challenger.key, "regex_rewrite": salt}


def _mirror(shadow: Shadow) -> Json:
    return {
        "cluster": SHADOW,
        "runtime_fraction": {"default_value": {"numerator": shadow.percent, "denominator": "HUNDRED"}},
        "disable_shadow_host_suffix_append": True,
        "trace_sampled": False,
    }


def _probes() -> Json:
    """Return the part of the connection manager for probes and metrics.

    /ping is 200 until the router gets the request to stop, /health always.
    """
    ready = _typed(
        "envoy.filters.http.health_check",
        "extensions.filters.http.health_check.v3.HealthCheck",
        {
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": "/ping"}}],
        },
    )
    routes = [
        {"match": {"path": "/health"}, "direct_response": {"status": 200}},
        {"match": {"path": "/metrics"}, "route": {"cluster": ADMIN, "prefix_rewrite": "/stats/prometheus"}},
    ]
    host: Json = {"name": "probes", "domains": ["*"], "routes": routes}
    return {
        "route_config": {"name": "probes", "virtual_hosts": [host]},
        "http_filters": [ready, _last_filter()],
    }


def _clusters(router: Router) -> Sequence[Json]:
    clusters = [_pods(CHAMPION, router.champion, {}), _static(ADMIN, Address(host="127.0.0.1", port=router.admin_port))]
    # Without a healthy pod, the requests go to the champion or nowhere; in a "panic" they would go to unhealthy pods.
    calm: Json = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}
    if router.callers:
        clusters += authentication.clusters(router.callers)
    if router.challenger:
        clusters += [_pods(CHALLENGER, router.challenger.address, calm), _either()]
    if router.shadow:
        few = {"thresholds": [{"max_requests": SHADOW_REQUESTS, "max_pending_requests": SHADOW_REQUESTS}]}
        clusters.append(_pods(SHADOW, router.shadow.address, {"circuit_breakers": few, **calm}))
    return clusters


def _pods(name: str, address: Address, more: Mapping[str, Any]) -> Json:
    """Return the cluster of one version's pods, whose addresses are the answer of DNS."""
    http: Json = {
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_SECONDS}s"},
    }
    dns = {"dns_refresh_rate": f"{DNS_SECONDS}s", "dns_lookup_family": "V4_PREFERRED"}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoint = {
        "address": _socket(address.host, address.port),
        "health_check_config": {"port_value": address.probe_port},
    }
    return {
        "name": name,
        "cluster_type": _typed("envoy.clusters.dns", "extensions.clusters.dns.v3.DnsCluster", dns),
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "typed_extension_protocol_options": {options: {"@type": f"{_TYPES}{options.removeprefix('envoy.')}", **http}},
        "circuit_breakers": {"thresholds": [MANY]},
        "health_checks": [
            {
                "timeout": f"{PROBE_SECONDS}s",
                "interval": f"{PROBE_SECONDS}s",
                "no_traffic_interval": f"{PROBE_SECONDS}s",
                "unhealthy_threshold": PROBES_FAILED,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/ping"},
            }
        ],
        # A pod that stops is removed at once, although it still passes its health checks.
        "ignore_health_on_host_removal": True,
        # A pod that does not accept connections gets no requests for some seconds; responses with 5xx do not count.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        },
        **more,
    }


def _either() -> Json:
    """Return the cluster of the challenger's pods or, if none is healthy, the champion's."""
    config = {"clusters": [CHALLENGER, CHAMPION]}
    return {
        "name": CHALLENGER_OR_CHAMPION,
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": {"thresholds": [MANY]},
        "cluster_type": _typed("envoy.clusters.aggregate", "extensions.clusters.aggregate.v3.ClusterConfig", config),
    }


def _static(name: str, address: Address) -> Json:
    endpoint = {"address": _socket(address.host, address.port)}
    return {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


def _mutation() -> Json:
    """Return the filter that sets headers by the chosen cluster; the router filter after it reads them."""
    return {"name": MUTATION, "typed_config": {"@type": _MUTATION}}


def _last_filter() -> Json:
    return _typed(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router", {"suppress_envoy_headers": True}
    )


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _socket(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _typed(name: str, kind: str, values: Mapping[str, Any]) -> Json:
    return {"name": name, "typed_config": {"@type": f"{_TYPES}{kind}", **values}}
