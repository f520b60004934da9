"""Dashboards for Grafana: their panels as data, and their JSON by Grafana's own builders.

The variable `endpoint` of a board chooses one endpoint. Grafana is not part of the platform: a sidecar of Grafana's
chart finds the boards by a label, or you import the JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from monitoring.spec import SERVERS, TRACKING

WINDOW = "$__rate_interval"
"""Grafana's variable for a window that holds at least four scrapes."""
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HEIGHT = 12, 8
"""Size of a panel in Grafana's grid, which is 24 wide."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """Query of a panel."""

    expr: str
    """Query in PromQL, with Grafana's variables."""
    legend: str
    """Template of the name of each series."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Panel of a board."""

    title: str
    """Title."""
    queries: Sequence[Query]
    """Queries, whose series are drawn together."""
    unit: str = "short"
    """Unit of the values, in Grafana's words."""
    number: bool = False
    """Whether the panel shows the last value only, instead of its course."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """Dashboard."""

    title: str
    """Title."""
    panels: Sequence[Panel]
    """Panels, two in each row."""
    of_endpoint: bool = False
    """Whether the board shows the endpoint that its variable names."""


def _rate(metric: str, by: str, *matchers: str) -> str:
    inside = ",".join(['endpoint="$endpoint"', *matchers])
    return f"sum by ({by}) (rate({metric}{{{inside}}}[{WINDOW}]))"


def _quantiles(metric: str, by: str) -> list[Query]:
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return [
        Query(
            expr=f"histogram_quantile({quantile}, {_rate(f'{metric}_bucket', f'{by}, le')})",
            legend=f"p{quantile * 100:g} {legend}",
        )
        for quantile in (0.5, 0.95, 0.99)
    ]


def _one(title: str, expr: str, legend: str, unit: str = "short", *, number: bool = False) -> Panel:
    return Panel(title=title, queries=[Query(expr=expr, legend=legend)], unit=unit, number=number)


VERSION = "version, role"
OF_VERSION = "version {{version}} ({{role}})"
FAILED, REFUSED = 'code=~"5.."', 'code="429"'
HERE = '{endpoint="$endpoint"}'
TOTAL = _rate("serving_requests_total", VERSION)
ROWS = _rate("serving_request_rows_sum", "endpoint")
DROPPED = _rate("serving_prediction_log_dropped_total", "endpoint")
OF_ROUTER = "envoy_cluster_name"
ARMS = f'{OF_ROUTER}=~"champion|challenger"'
VERSIONS = f'{OF_ROUTER}=~"champion|challenger|shadow"'
BY_ROUTER = f"{{{{{OF_ROUTER}}}}}"
SENT = "envoy_cluster_upstream_rq_total"


def _pods_of_routers(name: str) -> str:
    """Return the largest number of pods that a router counts, by version."""
    return f'max by ({OF_ROUTER}) (envoy_cluster_{name}{{endpoint="$endpoint",{VERSIONS}}})'


ENDPOINT = Board(
    title="MLOps: endpoint",
    of_endpoint=True,
    panels=[
        _one("Requests", TOTAL, OF_VERSION, "reqps"),
        _one("Responses", _rate("serving_requests_total", "code"), "{{code}}", "reqps"),
        _one(
            "Share of 5xx", f"{_rate('serving_requests_total', VERSION, FAILED)} / {TOTAL}", OF_VERSION, "percentunit"
        ),
        _one(
            "Share of 429", f"{_rate('serving_requests_total', VERSION, REFUSED)} / {TOTAL}", OF_VERSION, "percentunit"
        ),
        Panel(title="Response time", queries=_quantiles("serving_request_seconds", VERSION), unit="s"),
        _one(
            "Time of each stage, mean",
            f"{_rate('serving_stage_seconds_sum', 'stage')} / {_rate('serving_stage_seconds_count', 'stage')}",
            "{{stage}}",
            "s",
        ),
        _one("Requests in flight", f"sum by (pod) (serving_requests_in_flight{HERE})", "{{pod}}"),
        _one("Requests that wait for a worker", f"sum by (pod) (serving_queue_length{HERE})", "{{pod}}"),
        _one(
            "Pods",
            f"count by (version, role) (serving_requests_in_flight{HERE})",
            OF_VERSION,
        ),
        _one("CPUs of the pods", _rate("process_cpu_seconds_total", "pod"), "{{pod}}"),
        _one("Memory of the pods", f"sum by (pod) (process_resident_memory_bytes{HERE})", "{{pod}}", "bytes"),
        _one("Rows", _rate("serving_request_rows_sum", VERSION), OF_VERSION, "rowsps"),
        _one(
            "Requests predicted together, mean",
            f"{_rate('serving_batch_requests_sum', VERSION)} / {_rate('serving_batch_requests_count', VERSION)}",
            OF_VERSION,
        ),
        Panel(title="Size of requests", queries=_quantiles("serving_request_bytes", VERSION), unit="bytes"),
        _one(
            "Share of each predicted class",
            f"{_rate('serving_predictions_total', 'value, version')} / on (version) group_left () "
            f"{_rate('serving_predictions_total', 'version')}",
            "{{value}}, version {{version}}",
            "percentunit",
        ),
        # The server's histogram has buckets below zero, so it has no sum and no count.
        Panel(title="Predicted numbers", queries=_quantiles("serving_prediction_value", VERSION)),
        _one(
            "Share of missing values",
            f"topk(10, {_rate('serving_input_missing_total', 'endpoint, feature')} "
            f"/ on (endpoint) group_left () {ROWS})",
            "{{feature}}",
            "percentunit",
        ),
        _one(
            "Share of values outside the range in training",
            f"topk(10, {_rate('serving_input_out_of_range_total', 'endpoint, feature')} "
            f"/ on (endpoint) group_left () {ROWS})",
            "{{feature}}",
            "percentunit",
        ),
        _one(
            "Requests in the prediction log",
            _rate("serving_prediction_log_written_total", VERSION),
            OF_VERSION,
            "reqps",
        ),
        _one(
            "Prediction log that waits for its upload",
            f"sum by (pod) (serving_prediction_log_spool_bytes{HERE})",
            "{{pod}}",
            "bytes",
        ),
        _one("Requests dropped from the prediction log", f"{DROPPED} or vector(0)", "dropped", "reqps"),
        # Only an endpoint with a challenger, a shadow or `auth` has routers.
        _one(
            "Routers: share of champion and challenger",
            f"{_rate(SENT, f'endpoint, {OF_ROUTER}', ARMS)} / on (endpoint) group_left () "
            f"{_rate(SENT, 'endpoint', ARMS)}",
            BY_ROUTER,
            "percentunit",
        ),
        _one("Routers: requests sent again", _rate("envoy_cluster_upstream_rq_retry", OF_ROUTER), BY_ROUTER, "reqps"),
        Panel(
            title="Routers: pods without requests",
            queries=[
                Query(
                    expr=f"{_pods_of_routers('membership_total')} - {_pods_of_routers('membership_healthy')}",
                    legend=f"unhealthy, {BY_ROUTER}",
                ),
                Query(
                    expr=_pods_of_routers("outlier_detection_ejections_active"),
                    legend=f"refuses connections, {BY_ROUTER}",
                ),
            ],
        ),
        _one("Time to load the model", f"max by (version) (serving_model_load_seconds{HERE})", "{{version}}", "s"),
    ],
)
MLFLOW = f'{{job="{TRACKING}",envoy_http_conn_manager_prefix="mlflow"}}'
PLATFORM = Board(
    title="MLOps: platform",
    panels=[
        _one(
            "Requests of each endpoint", f"sum by (endpoint) (rate(serving_requests_total[{WINDOW}]))", "{{endpoint}}",
            "reqps",
        ),
        _one("Share of 5xx of each endpoint", "endpoint:errors:ratio_5m", "{{endpoint}}", "percentunit"),
        _one(
            "Response time of each endpoint, p95",
            f"histogram_quantile(0.95, sum by (endpoint, le) (rate(serving_request_seconds_bucket[{WINDOW}])))",
            "{{endpoint}}",
            "s",
        ),
        _one("Ready pods", "mlops_endpoint_pods_ready", "{{deployment}}"),
        _one("Served versions", 'mlops_endpoint_version{state="ready"}', "{{deployment}}", number=True),
        _one("Champions in the registry", 'mlops_model_version{which="champion"}', "{{model}}", number=True),
        _one(
            "Age of the champions",
            'time() - mlops_model_created_timestamp_seconds{which="champion"}',
            "{{model}}",
            "s",
            number=True,
        ),
        _one("Windows in a row that drifted", 'mlops_model_drift_windows{which="champion"}', "{{model}}", number=True),
        _one("Used share of the quotas", "mlops_quota_used_ratio", "{{namespace}} {{resource}}", "percentunit"),
        _one("MLflow answers", "mlops_mlflow_up", "MLflow", number=True),
        _one(
            "Days until a certificate expires",
            "(mlops_certificate_expires_timestamp_seconds - time()) / 86400",
            "{{server}}",
            number=True,
        ),
        # Only an MLflow that asks who you are has a proxy with metrics.
        _one(
            "Requests to MLflow",
            f"sum by (envoy_response_code_class) (rate(envoy_http_downstream_rq_xx{MLFLOW}[{WINDOW}]))",
            "{{envoy_response_code_class}}xx",
            "reqps",
        ),
        _one(
            "Response time of MLflow, p95",
            # Envoy counts milliseconds.
            f"histogram_quantile(0.95, sum by (le) (rate(envoy_http_downstream_rq_time_bucket{MLFLOW}[{WINDOW}])))"
            " / 1000",
            "MLflow",
            "s",
        ),
        _one("Scraped servers", f'count by (endpoint) (up{{job="{SERVERS}"}} == 1)', "{{endpoint}}"),
    ],
)  # fmt: skip
TRAINING = Board(
    title="MLOps: training",
    panels=[
        _one("Jobs that run", "mlops_jobs_active", "{{kind}} of {{training}}"),
        _one(
            "Time since the last success",
            "time() - (mlops_job_succeeded_timestamp_seconds > 0)",
            "{{kind}} of {{training}}",
            "s",
            number=True,
        ),
        _one("Newest versions", 'mlops_model_version{which="newest"}', "{{model}}", number=True),
        _one(
            "Validation of the newest versions", 'mlops_model_validation{which="newest"}', "{{model}}: {{status}}",
            number=True,
        ),
        _one("Proposed versions", "mlops_model_proposed", "{{model}}", number=True),
        _one("GPUs of the nodes", "mlops_gpus_allocatable", "GPUs"),
        _one("GPUs in use", "mlops_gpus_requested", "GPUs"),
        _one("Pods that wait for a GPU", "mlops_gpu_pods_waiting", "pods"),
    ],
)  # fmt: skip
BOARDS: Mapping[str, Board] = {"endpoint": ENDPOINT, "platform": PLATFORM, "training": TRAINING}
"""All boards, by the name that their address in Grafana ends with."""


def uid(name: str) -> str:
    """Return the identity of a dashboard in Grafana, which is the end of its address."""
    return f"mlops-{name}"


def texts() -> dict[str, str]:
    """Return the JSON of each board, by its name."""
    return {name: _json(name, board) for name, board in BOARDS.items()}


def resolved(expr: str, endpoint: str, window: str = "1m") -> str:
    """Return a query with the values of Grafana's variables, for another program than Grafana."""
    return expr.replace("$endpoint", endpoint).replace(WINDOW, window)


def _json(name: str, board: Board) -> str:
    made = dashboard.Dashboard(board.title).uid(uid(name)).tags(["mlops"]).refresh("30s").time("now-6h", "now")
    made = made.with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    if board.of_endpoint:
        chosen = dashboard.QueryVariable("endpoint").datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        made = made.with_variable(chosen.query(f'label_values(up{{job="{SERVERS}"}}, endpoint)'))
    for panel in board.panels:
        made = made.with_panel(_panel(panel))
    return json.dumps(made.build(), cls=JSONEncoder, sort_keys=True, indent=1)


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    made = stat.Panel() if panel.number else timeseries.Panel()
    made = made.title(panel.title).unit(panel.unit).datasource(SOURCE).span(WIDTH).height(HEIGHT)
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
        made = made.with_target(target.ref_id(letter))
    return made
