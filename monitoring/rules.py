"""Recording rules and alerts as data, generated from a stack's endpoints and their objectives.

Every series of a model server has the labels `endpoint` and `pod` from its pod, and `model`, `version` and `role` from
the server. Series of the exporter are described in monitoring/exporter.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from monitoring.spec import EXPORTER, ROUTERS, SERVERS, Endpoint, Platform

Severity = Literal["page", "ticket"]
"""`page`: clients notice it now; the person on call is woken. `ticket`: it can wait until working hours."""
SERVED = 'role!="shadow"'
"""Matcher of the series whose responses clients get."""
CHAMPION, COMPARED = 'role!~"challenger|shadow"', 'role=~"challenger|shadow"'
FAILED, REFUSED, INVALID = 'code=~"5.."', 'code="429"', 'code="400"'
FAILING_SHARE, FAILING_COUNT = 0.05, 5
"""EndpointFailing: share and number of 5xx responses in a minute, above which the alert fires at once."""
CERTIFICATE_DAYS = 14
"""Days before the end of a certificate at which CertificateExpires fires; most programs renew theirs earlier."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Series that Prometheus computes and keeps, because alerts and boards read it often."""

    record: str
    """Name of the series."""
    expr: str
    """Query in PromQL."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Condition that Alertmanager reports, and its severity and texts."""

    alert: str
    """Name of the alert."""
    expr: str
    """Query in PromQL; each series of its result is one alert."""
    severity: Severity
    """Urgency, as the label `severity`."""
    summary: str
    """Sentence that says what is wrong; `{{ $labels.x }}` and `{{ $value }}` are replaced."""
    action: str
    """Sentence that says what to do."""
    lasts: str = "0s"
    """Time for which the condition must hold."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further labels of the alert."""


Rule = Recording | Alert


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rules that Prometheus evaluates in their order."""

    name: str
    """Name of the group."""
    rules: Sequence[Rule]
    """Rules of the group."""


def groups(platform: Platform) -> list[Group]:
    """Return all rules of a stack: those of every endpoint, those of each objective, and those of the platform."""
    return [
        Group(name="mlops-endpoints", rules=[*_recordings(), *_of_every_endpoint()]),
        *(Group(name=f"mlops-endpoint-{each.name}", rules=_of(each)) for each in platform.endpoints),
        Group(name="mlops-platform", rules=[*_of_platform(), *_of_schedules(platform)]),
    ]


def document(platform: Platform) -> dict[str, Any]:
    """Return the rules as Prometheus' rule file, and as `spec` of a PrometheusRule."""
    return {
        "groups": [{"name": group.name, "rules": [_entry(rule) for rule in group.rules]} for group in groups(platform)]
    }


def alerts(platform: Platform) -> list[Alert]:
    """Return all alerts of a stack."""
    return [rule for group in groups(platform) for rule in group.rules if isinstance(rule, Alert)]


def at_most(seconds: float) -> str:
    """Return the matcher of a histogram's bucket. Prometheus 3 stores the bound 1 as 1.0, Prometheus 2 as 1."""
    return rf'le=~"{seconds:g}(\\.0)?"' if float(seconds).is_integer() else f'le="{seconds:g}"'


def _entry(rule: Rule) -> dict[str, Any]:
    if isinstance(rule, Recording):
        return {"record": rule.record, "expr": rule.expr}
    return {
        "alert": rule.alert,
        "expr": rule.expr,
        "for": rule.lasts,
        "labels": {"severity": rule.severity, **rule.labels},
        "annotations": {"summary": rule.summary, "action": rule.action},
    }


def _rate(metric: str, window: str, *matchers: str, by: str = "endpoint") -> str:
    return f"sum by ({by}) (rate({metric}{{{','.join(matchers)}}}[{window}]))"


def _errors(window: str, *matchers: str, by: str = "endpoint") -> str:
    """Return the share of 5xx responses. It is never absent, because servers count from zero."""
    failed = _rate("serving_requests_total", window, FAILED, *matchers, by=by)
    return f"{failed} / {_rate('serving_requests_total', window, *matchers, by=by)}"


def _recordings() -> list[Recording]:
    rows = _rate("serving_request_rows_sum", "1h", CHAMPION)
    return [
        *(
            Recording(record=f"endpoint:errors:ratio_{window}", expr=_errors(window, SERVED))
            for window in ("5m", "30m", "1h", "6h", "3d")
        ),
        Recording(record="endpoint:requests:rate_1h", expr=_rate("serving_requests_total", "1h", CHAMPION)),
        *(
            Recording(
                record=f"endpoint:{name}:share_1h",
                expr=f"{_rate(metric, '1h', CHAMPION, by='endpoint, feature')} / on (endpoint) group_left () {rows}",
            )
            for name, metric in (
                ("missing", "serving_input_missing_total"),
                ("out_of_range", "serving_input_out_of_range_total"),
            )
        ),
    ]


def _of_every_endpoint() -> list[Alert]:
    by_role = "endpoint, role"
    failed = _rate("serving_requests_total", "1m", FAILED, SERVED, by=by_role)
    dropped = "serving_prediction_log_dropped_total"
    refused = _rate("serving_requests_total", "5m", REFUSED, SERVED, by=by_role)
    worse = _errors("30m", COMPARED, by=by_role)
    slow = "histogram_quantile(0.95, sum by ({by}, le) (rate(serving_request_seconds_bucket{{{role}}}[30m])))"
    return [
        Alert(
            alert="EndpointFailing",
            expr=f"{_errors('1m', SERVED, by=by_role)} > {FAILING_SHARE} and {failed} * 60 >= {FAILING_COUNT}",
            severity="page",
            summary="{{ $labels.endpoint }} ({{ $labels.role }}) fails {{ $value | humanizePercentage }} of requests.",
            action="Read the server's log; if a release caused it, run `mlops release ENDPOINT --previous`.",
        ),
        Alert(
            alert="EndpointOverloaded",
            expr=f"{refused} / {_rate('serving_requests_total', '5m', SERVED, by=by_role)} > 0.01",
            lasts="5m",
            severity="page",
            summary="{{ $labels.endpoint }} ({{ $labels.role }}) refuses {{ $value | humanizePercentage }} of requests "
            "for lack of time.",
            action="Raise `replicas.max` or `cpu`, or make the clients send less.",
        ),
        Alert(
            # A model that raises an exception gets a 400, as in MLflow; clients that send wrong rows get one too.
            alert="EndpointRefusing",
            expr=f"{_rate('serving_requests_total', '10m', INVALID, SERVED, by=by_role)} / "
            f"{_rate('serving_requests_total', '10m', SERVED, by=by_role)} > 0.2",
            lasts="5m",
            severity="ticket",
            summary="{{ $labels.endpoint }} ({{ $labels.role }}) answers {{ $value | humanizePercentage }} of requests "
            "with 400.",
            action="Read the server's log: either the model fails on these rows, or a client sends wrong ones.",
        ),
        Alert(
            alert="EndpointPodsNotReady",
            expr="mlops_endpoint_pods_ready < mlops_endpoint_pods_desired",
            lasts="15m",
            severity="ticket",
            summary="{{ $labels.deployment }} has only {{ $value }} ready pods.",
            action="Read the events of the pods: kubectl --namespace ml-serving describe pods.",
        ),
        Alert(
            alert="EndpointReleaseStuck",
            expr="mlops_endpoint_release_stuck == 1",
            lasts="1m",
            severity="ticket",
            summary="The release of {{ $labels.deployment }} does not become ready; the old version goes on serving.",
            action="Read the reason in the pod, then release another version.",
        ),
        Alert(
            alert="EndpointAtMaximum",
            expr="mlops_endpoint_pods_desired >= mlops_endpoint_pods_maximum > mlops_endpoint_pods_minimum",
            lasts="30m",
            severity="ticket",
            summary="{{ $labels.deployment }} has had its largest number of pods, {{ $value }}, for half an hour.",
            action="Raise `replicas.max` if the load will stay.",
        ),
        Alert(
            alert="PredictionLogDropping",
            # A reason that has no series yet appears with its first number, which no increase shows.
            expr=f"sum by (endpoint, reason) (increase({dropped}[10m]) > 0 "
            f"or ({dropped} unless {dropped} offset 10m) > 0)",
            severity="ticket",
            summary="{{ $labels.endpoint }} dropped {{ $value }} requests from its prediction log: "
            "{{ $labels.reason }}.",
            action="See the reasons in docs/prediction-log.md; raise `spool_mib` or lower `sample`.",
        ),
        Alert(
            alert="InputOutOfRange",
            expr="endpoint:out_of_range:share_1h > 0.05",
            lasts="15m",
            severity="ticket",
            summary="{{ $value | humanizePercentage }} of the rows of {{ $labels.endpoint }} have a "
            "{{ $labels.feature }} outside the range in training.",
            action="Ask the clients whether the unit or the source of the column changed.",
        ),
        Alert(
            alert="InputMissing",
            # The share of a day before; zero for a column that was never missing while there were requests.
            expr="(endpoint:missing:share_1h - (endpoint:missing:share_1h offset 1d or endpoint:missing:share_1h * 0)) "
            "> 0.1 and on (endpoint) endpoint:requests:rate_1h offset 1d > 0",
            lasts="15m",
            severity="ticket",
            summary="{{ $labels.feature }} is missing in more rows of {{ $labels.endpoint }} than yesterday: "
            "{{ $value | humanizePercentage }} of all rows more.",
            action="Ask the clients whether they still send the column.",
        ),
        Alert(
            alert="ChallengerWorse",
            expr=f"{worse} - on (endpoint) group_left () {_errors('30m', CHAMPION)} > 0.01",
            lasts="5m",
            severity="ticket",
            summary="The {{ $labels.role }} of {{ $labels.endpoint }} fails more requests than the champion, by "
            "{{ $value | humanizePercentage }} of its requests.",
            action="End the experiment, or correct the version.",
        ),
        Alert(
            alert="ChallengerSlower",
            expr=f"{slow.format(by=by_role, role=COMPARED)} > on (endpoint) group_left () 1.5 * "
            f"{slow.format(by='endpoint', role=CHAMPION)}",
            lasts="15m",
            severity="ticket",
            summary="The {{ $labels.role }} of {{ $labels.endpoint }} is more than 1.5 times as slow as the champion: "
            "p95 is {{ $value | humanizeDuration }}.",
            action="Compare the versions' validation reports, or give the challenger more `cpu`.",
        ),
        *_of_every_router(),
    ]


def _of_every_router() -> list[Alert]:
    """Return the alerts of endpoints with a challenger, a shadow or `auth`; without a router there is no series."""
    sent, healthy = "envoy_http_downstream_rq_xx", "envoy_cluster_membership_healthy"
    ours = 'envoy_http_conn_manager_prefix="requests"'
    failed = _rate(sent, "1m", ours, 'envoy_response_code_class="5"')
    # Responses that no server made: the servers' own failures are counted by EndpointFailing.
    own = f"({failed} - {_rate('serving_requests_total', '1m', FAILED, SERVED)} or {failed})"
    return [
        Alert(
            alert="RouterFailing",
            expr=f"{own} / {_rate(sent, '1m', ours)} > {FAILING_SHARE} and {own} * 60 >= {FAILING_COUNT}",
            lasts="30s",
            severity="page",
            summary="The routers of {{ $labels.endpoint }} answer {{ $value | humanizePercentage }} of requests with a "
            "5xx of their own: no pod answers in time, or the keys of the callers' issuer cannot be read (`auth`).",
            action="Send a request: its response says which. Read the events and logs of the served version's pods in "
            "ml-serving, or make the issuer reachable.",
        ),
        Alert(
            alert="ChampionUnreachable",
            expr=f'max by (endpoint) ({healthy}{{envoy_cluster_name="champion"}}) == 0',
            lasts="30s",
            severity="page",
            summary="The routers of {{ $labels.endpoint }} find no healthy pod of the served version.",
            action="Read the events and logs of the served version's pods in ml-serving.",
        ),
        Alert(
            alert="ChallengerUnreachable",
            expr=f'max by (endpoint, envoy_cluster_name) ({healthy}{{envoy_cluster_name=~"challenger|shadow"}}) == 0',
            lasts="5m",
            severity="ticket",
            summary="The routers of {{ $labels.endpoint }} find no healthy pod of the "
            "{{ $labels.envoy_cluster_name }}; the served version answers its callers.",
            action="Read the logs of its pods, or end the experiment.",
        ),
    ]


def _down(alert: str, job: str, endpoint: Endpoint, summary: str) -> Alert:
    """Return the alert that no pod of a scrape job answers for an endpoint; an endpoint without pods has no series."""
    return Alert(
        alert=alert,
        expr=f'(count(up{{job="{job}",endpoint="{endpoint.name}"}} == 1) or vector(0)) == 0',
        lasts="1m",
        severity="page",
        summary=summary,
        action="Read the events and logs of its pods in ml-serving.",
        labels={"endpoint": endpoint.name},
    )


def _of(endpoint: Endpoint) -> list[Alert]:
    here, labels = f'endpoint="{endpoint.name}"', {"endpoint": endpoint.name}
    found = [_down("EndpointDown", SERVERS, endpoint, f"No server of {endpoint.name} answers its scraper.")]
    if endpoint.is_routed:
        summary = f"No router of {endpoint.name} answers its scraper, so clients reach no version."
        found.append(_down("RouterDown", ROUTERS, endpoint, summary))
    if endpoint.availability is not None:
        found += _burn_rates(endpoint.name, endpoint.availability, labels)
    if (seconds := endpoint.p95_seconds) is not None:
        within = _rate("serving_request_seconds_bucket", "10m", here, SERVED, at_most(seconds))
        total = _rate("serving_request_seconds_count", "10m", here, SERVED)
        found.append(
            Alert(
                alert="EndpointSlow",
                expr=f"1 - {within} / {total} > 0.05",
                lasts="5m",
                severity="ticket",
                summary=f"{{{{ $value | humanizePercentage }}}} of the requests of {endpoint.name} take longer than "
                f"{seconds * 1000:g} ms; the objective allows 5 %.",
                action="Look at the stages on the endpoint's board: queue means too few pods, predict a slower model.",
                labels=labels,
            )
        )
    if endpoint.spool_bytes:
        found.append(
            Alert(
                alert="PredictionLogSpooling",
                expr=f"max by (endpoint) (serving_prediction_log_spool_bytes{{{here}}}) "
                f"> {0.8 * endpoint.spool_bytes:.0f}",
                lasts="5m",
                severity="ticket",
                summary=f"A pod of {endpoint.name} keeps {{{{ $value | humanize1024 }}}}B of its prediction log, "
                "because uploads do not keep up; it will drop requests from the log.",
                action="Read the log of the container `ship`; check that the artifact store answers.",
                labels=labels,
            )
        )
    return found


BURNS: Sequence[tuple[str, float, str, str, Severity, str]] = (
    ("Fast", 14.4, "1h", "5m", "page", "in about 2 days"),
    ("Slow", 6, "6h", "30m", "page", "in about 5 days"),
    ("Steady", 1, "3d", "6h", "ticket", "within 30 days"),
)
"""Name, burn rate, long and short window, severity and end of the budget (Google, The Site Reliability Workbook,
chapter 5). The short window ends an alert soon after its cause."""


def _burn_rates(name: str, availability: float, labels: Mapping[str, str]) -> list[Alert]:
    here, budget = f'{{endpoint="{name}"}}', (100 - availability) / 100
    return [
        Alert(
            alert=f"EndpointErrorBudget{speed}",
            expr=f"endpoint:errors:ratio_{long}{here} > {rate * budget:.6g} and "
            f"endpoint:errors:ratio_{short}{here} > {rate * budget:.6g}",
            severity=severity,
            summary=f"{name} fails {{{{ $value | humanizePercentage }}}} of requests; at this rate the errors that "
            f"{availability:g} % allows in 30 days are used up {end}.",
            action="Find the failing version or pods on the endpoint's board.",
            labels=labels,
        )
        for speed, rate, long, short, severity, end in BURNS
    ]


def _of_platform() -> list[Alert]:
    return [
        Alert(
            alert="ExporterDown",
            expr=f'absent(up{{job="{EXPORTER}"}} == 1)',
            lasts="5m",
            severity="ticket",
            summary="The exporter is not scraped, so alerts about MLflow, Jobs and releases cannot fire.",
            action="Read the log of the Deployment mlops-exporter in mlops-platform.",
        ),
        Alert(
            alert="MlflowDown",
            expr="mlops_mlflow_up == 0",
            lasts="2m",
            severity="page",
            summary="MLflow does not answer: no run starts, no version is validated; endpoints go on serving.",
            action="Read the logs of the Deployment mlflow and of its database.",
        ),
        Alert(
            alert="KubernetesUnread",
            expr="mlops_kubernetes_up == 0",
            lasts="5m",
            severity="ticket",
            summary="The exporter cannot read the cluster's objects.",
            action="Read the exporter's log; it names the request that failed.",
        ),
        Alert(
            alert="ArtifactStoreDown",
            expr="mlops_artifact_store_up == 0",
            lasts="2m",
            severity="page",
            summary="The artifact store does not answer: new pods cannot fetch their model.",
            action="Read the log of the artifact store's pod.",
        ),
        Alert(
            alert="JobFailed",
            expr="mlops_job_failed_timestamp_seconds > mlops_job_succeeded_timestamp_seconds",
            severity="ticket",
            summary="The last {{ $labels.kind }} of {{ $labels.training }} failed.",
            action="Run `mlops runs`, then `mlops follow` with the run's name.",
        ),
        Alert(
            alert="ReleasedVersionReplaced",
            expr="mlops_endpoint_release_digest unless on (model, version, digest) mlops_model_digest "
            "and on (model, version) mlops_model_digest",
            lasts="2m",
            severity="ticket",
            summary="{{ $labels.model }} version {{ $labels.version }} in MLflow has other files than "
            "{{ $labels.endpoint }} released; the released files stay in use.",
            action="Find out who replaced it, and train the model again; `mlops doctor` shows both digests.",
        ),
        Alert(
            alert="ModelDrift",
            # Only what changes predictions; `mlops drift` shows every column that drifted.
            expr='mlops_model_drift_windows{which="champion"} > 0',
            severity="ticket",
            summary="Requests to {{ $labels.model }} have changed its predictions in the last {{ $value }} windows.",
            action="Read the report: mlops drift with the endpoint's name.",
        ),
        Alert(
            alert="QuotaNearlyUsed",
            expr="mlops_quota_used_ratio > 0.9",
            lasts="15m",
            severity="ticket",
            summary="{{ $labels.namespace }} uses {{ $value | humanizePercentage }} of its quota of "
            "{{ $labels.resource }}.",
            action="Raise `mlops:quotas`, or lower the requests; the namespace refuses pods beyond its quota.",
        ),
        Alert(
            alert="CertificateExpires",
            expr=f"mlops_certificate_expires_timestamp_seconds - time() < {CERTIFICATE_DAYS} * 86400",
            lasts="1h",
            severity="ticket",
            summary="The certificate of {{ $labels.server }} expires in {{ $value | humanizeDuration }}.",
            action="Renew it, as in `kubeadm certs renew apiserver`; a cloud renews that of its own cluster.",
        ),
        Alert(
            alert="GpuPoolFull",
            expr="mlops_gpu_pods_waiting > 0",
            lasts="30m",
            severity="ticket",
            summary="{{ $value }} training pods have waited for a GPU for half an hour.",
            action="Raise `gpu.max` of the pool, or allow more instance families or spot capacity.",
        ),
        Alert(
            alert="GpuPoolIdle",
            expr="mlops_gpus_allocatable > 0 and mlops_gpus_requested == 0",
            lasts="1h",
            severity="ticket",
            summary="{{ $value }} GPUs have been paid for and unused for an hour.",
            action="Find what keeps the nodes: kubectl get nodes, and their pods.",
        ),
    ]


def _of_schedules(platform: Platform) -> list[Alert]:
    trainings = [
        Alert(
            alert="TrainingLate",
            expr=_late("training", name, 2 * seconds),
            severity="ticket",
            summary=f"No scheduled run of {name} has succeeded for {{{{ $value | humanizeDuration }}}}.",
            action="Run `mlops runs --name` with the training's name.",
        )
        for name, seconds in platform.scheduled.items()
    ]
    validations = [
        Alert(
            alert="ValidationLate",
            expr=_late("validation", name, seconds),
            severity="ticket",
            summary=f"No scheduled validation of {name} has succeeded for {{{{ $value | humanizeDuration }}}}, so new "
            "versions get no result.",
            action=f"Read the CronJob's events: kubectl --namespace ml-training describe cronjob {name}-validation.",
        )
        for name, seconds in platform.validated.items()
    ]
    return [*trainings, *validations]


def _late(kind: str, name: str, seconds: float) -> str:
    return f'time() - mlops_schedule_succeeded_timestamp_seconds{{kind="{kind}",training="{name}"}} > {seconds:.0f}'
