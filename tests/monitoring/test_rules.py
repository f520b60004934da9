"""Alerts, each of which fires and stays silent in the real promtool."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from monitoring import exporter, rules
from monitoring.spec import Endpoint, Platform
from tests.monitoring.promtool import BINARY, Case, check

PLATFORM = Platform(
    endpoints=[
        Endpoint(name="churn", availability=99.9, p95_seconds=0.1, spool_bytes=100 << 20, is_routed=True),
        Endpoint(name="slow", p95_seconds=1),
        Endpoint(name="other"),
    ],
    scheduled={"weekly": 7 * 86400},
    validated={"weekly": 3600},
)
ROUTER = 'envoy_http_downstream_rq_xx{endpoint="churn",pod="r",envoy_http_conn_manager_prefix="requests",%s}'
TO_CLIENTS = tuple(ROUTER % f'envoy_response_code_class="{each}"' for each in (2, 5))
HEALTHY = 'envoy_cluster_membership_healthy{endpoint="churn",pod="%s",envoy_cluster_name="%s"}'
ROUTER_UP = 'up{job="model-routers",endpoint="%s",pod="r"}'
UP = 'up{job="model-servers",endpoint="%s",pod="p"}'
HERE = 'endpoint="churn",model="churn",version="3",role="%s",pod="p"'


def requests(code: str, role: str = "champion") -> str:
    return f'serving_requests_total{{{HERE % role},code="{code}"}}'


def traffic(failing: str, good: str = "0+600x2000", role: str = "champion") -> dict[str, str]:
    return {requests("200", role): good, requests("500", role): failing}


def bucket(le: str, values: str, endpoint: str = "churn") -> dict[str, str]:
    labels = (HERE % "champion").replace("churn", endpoint, 1)
    return {f'serving_request_seconds_bucket{{{labels},le="{le}"}}': values}


def counted(values: str, endpoint: str = "churn") -> dict[str, str]:
    labels = (HERE % "champion").replace("churn", endpoint, 1)
    return {f"serving_request_seconds_count{{{labels}}}": values}


ROWS = {f"serving_request_rows_sum{{{HERE % 'champion'}}}": "0+600x2000"}
AGE = f'serving_input_missing_total{{{HERE % "champion"},feature="age"}}'
RANGE = f'serving_input_out_of_range_total{{{HERE % "champion"},feature="age"}}'
POD = 'endpoint="churn",deployment="churn"'
HERE_ONLY = {"endpoint": "churn"}
DROPPED = f'serving_prediction_log_dropped_total{{{HERE % "champion"},reason="full"}}'
MODEL = 'model="churn",which="champion"'
SUCCEEDED = 'mlops_schedule_succeeded_timestamp_seconds{kind="%s",training="%s"}'
TRAINED = 'kind="training",training="churn"'
RELEASED = f'{POD},model="churn",version="7",digest="a1"'
REGISTERED, OTHER = (f'model="churn",version="7",digest="{digest}"' for digest in ("a1", "b2"))

FIRING: dict[str, Case] = {}
SILENT: dict[str, Case] = {}


def pair(
    alert: str,
    at: str,
    firing: dict[str, str],
    silent: dict[str, str],
    labels: dict[str, str] | None = None,
    *,
    interval: str = "1m",
) -> None:
    """Add the two cases of an alert."""
    more = {"alert": alert, "at": at, "interval": interval}
    FIRING[alert] = Case(name=f"{alert} fires", series=firing, fires=labels or {}, **more)
    SILENT[alert] = Case(name=f"{alert} is silent", series=silent, fires=None, **more)


pair("EndpointFailing", "1m", traffic("0+20x40", "0+180x40"), traffic("0+2x40", "0+198x40"),
     {**HERE_ONLY, "role": "champion", "severity": "page"}, interval="5s")  # fmt: skip
# The challenger refuses 1 of 6 requests, which is 0.2 % of all requests of the endpoint.
pair("EndpointOverloaded", "20m", {**traffic("0x40"), **traffic("0x40", "0+5x40", "challenger"),
                                   requests("429"): "0+1x40", requests("429", "challenger"): "0+1x40"},
     {**traffic("0x40"), **traffic("0x40", "0+600x40", "challenger"),
      requests("429"): "0+1x40", requests("429", "challenger"): "0+1x40"},
     {**HERE_ONLY, "role": "challenger"})  # fmt: skip
pair("EndpointRefusing", "20m", {**traffic("0x40"), requests("400"): "0+300x40"},
     {**traffic("0x40"), requests("400"): "0+30x40"}, {**HERE_ONLY, "role": "champion"})  # fmt: skip
pair(
    "EndpointDown",
    "3m",
    {UP % "churn": "0x10"},
    {UP % each: "1x10" for each in ("churn", "slow", "other")},
    {"endpoint": "churn", "severity": "page"},
)
pair("EndpointErrorBudgetFast", "2h", traffic("0+12x200"), traffic("0+6x200"), {**HERE_ONLY, "severity": "page"})
pair("EndpointErrorBudgetSlow", "7h", traffic("0+5x900"), traffic("0+3x900"), {**HERE_ONLY, "severity": "page"})
pair("EndpointErrorBudgetSteady", "4d", traffic("0+10x600", "0+6000x600"),
     traffic("0x300 0+10x20 200x300", "0+6000x600"),
     {**HERE_ONLY, "severity": "ticket"}, interval="10m")  # fmt: skip
pair("EndpointSlow", "30m", {**bucket("0.1", "0+540x60"), **counted("0+600x60")},
     {**bucket("0.1", "0+590x60"), **counted("0+600x60")}, HERE_ONLY)  # fmt: skip
pair("EndpointPodsNotReady", "20m", {f"mlops_endpoint_pods_ready{{{POD}}}": "1x40",
     f"mlops_endpoint_pods_desired{{{POD}}}": "2x40"}, {f"mlops_endpoint_pods_ready{{{POD}}}": "2x40",
     f"mlops_endpoint_pods_desired{{{POD}}}": "2x40"}, HERE_ONLY)  # fmt: skip
pair("EndpointReleaseStuck", "3m", {f"mlops_endpoint_release_stuck{{{POD}}}": "1x9"},
     {f"mlops_endpoint_release_stuck{{{POD}}}": "0x9"}, HERE_ONLY)  # fmt: skip
pair("EndpointAtMaximum", "40m", {f"mlops_endpoint_pods_{name}{{{POD}}}": f"{value}x60" for name, value in
     {"desired": 4, "maximum": 4, "minimum": 2}.items()}, {f"mlops_endpoint_pods_{name}{{{POD}}}": f"{value}x60"
     for name, value in {"desired": 2, "maximum": 2, "minimum": 2}.items()}, HERE_ONLY)  # fmt: skip
pair("PredictionLogDropping", "20m", {DROPPED: "_x15 3x30"}, {DROPPED: "3x60"}, {**HERE_ONLY, "reason": "full"})
pair("PredictionLogSpooling", "10m", {f"serving_prediction_log_spool_bytes{{{HERE % 'champion'}}}": "90000000x20"},
     {f"serving_prediction_log_spool_bytes{{{HERE % 'champion'}}}": "1000000x20"}, HERE_ONLY)  # fmt: skip
pair("InputOutOfRange", "2h", {**ROWS, RANGE: "0+60x200"}, {**ROWS, RANGE: "0+6x200"},
     {**HERE_ONLY, "feature": "age"})  # fmt: skip
pair("InputMissing", "2d", {**ROWS, **traffic("0x600"), AGE: "0x200 0+300x100"},
     {**ROWS, **traffic("0x600"), AGE: "0+300x600"}, {**HERE_ONLY, "feature": "age"}, interval="10m")  # fmt: skip
pair("ChallengerWorse", "1h", {**traffic("0+1x90"), **traffic("0+20x90", role="challenger")},
     {**traffic("0+20x90"), **traffic("0+20x90", role="challenger")},
     {**HERE_ONLY, "role": "challenger"})  # fmt: skip
pair("ChallengerSlower", "1h",
     {f'serving_request_seconds_bucket{{{HERE % role},le="{le}"}}': values for role, le, values in (
         ("champion", "0.1", "0+60x90"), ("champion", "0.5", "0+60x90"), ("champion", "+Inf", "0+60x90"),
         ("shadow", "0.1", "0x90"), ("shadow", "0.5", "0+60x90"), ("shadow", "+Inf", "0+60x90"))},
     {f'serving_request_seconds_bucket{{{HERE % role},le="{le}"}}': "0+60x90" for role in ("champion", "shadow")
      for le in ("0.1", "0.5", "+Inf")}, {**HERE_ONLY, "role": "shadow"})  # fmt: skip
pair("RouterFailing", "2m", dict(zip(TO_CLIENTS, ("0+180x40", "0+20x40"), strict=True)),
     {**dict(zip(TO_CLIENTS, ("0+180x40", "0+20x40"), strict=True)), **traffic("0+20x40", "0+180x40")},
     {**HERE_ONLY, "severity": "page"}, interval="5s")  # fmt: skip
pair("RouterDown", "3m", {ROUTER_UP % "other": "1x9"}, {ROUTER_UP % "churn": "1x9"}, {**HERE_ONLY, "severity": "page"})
pair("ChampionUnreachable", "3m", {HEALTHY % (pod, "champion"): "0x9" for pod in "rs"},
     {HEALTHY % ("r", "champion"): "0x9", HEALTHY % ("s", "champion"): "2x9"}, HERE_ONLY)  # fmt: skip
pair("ChallengerUnreachable", "8m", {HEALTHY % ("r", "shadow"): "0x19", HEALTHY % ("r", "challenger"): "1x19"},
     {HEALTHY % ("r", each): "1x19" for each in ("shadow", "challenger")},
     {**HERE_ONLY, "envoy_cluster_name": "shadow"})  # fmt: skip
pair("ExporterDown", "10m", {'up{job="mlops-exporter"}': "0x20"}, {'up{job="mlops-exporter"}': "1x20"})
pair("MlflowDown", "5m", {"mlops_mlflow_up": "0x9"}, {"mlops_mlflow_up": "1x9"}, {"severity": "page"})
pair("KubernetesUnread", "8m", {"mlops_kubernetes_up": "0x19"}, {"mlops_kubernetes_up": "1x19"})
pair("ArtifactStoreDown", "5m", {"mlops_artifact_store_up": "0x9"}, {"mlops_artifact_store_up": "1x9"})
pair("JobFailed", "3m", {f"mlops_job_failed_timestamp_seconds{{{TRAINED}}}": "200x9",
     f"mlops_job_succeeded_timestamp_seconds{{{TRAINED}}}": "100x9"},
     {f"mlops_job_failed_timestamp_seconds{{{TRAINED}}}": "200x9",
     f"mlops_job_succeeded_timestamp_seconds{{{TRAINED}}}": "300x9"}, {"training": "churn"})  # fmt: skip
pair("ReleasedVersionReplaced", "5m",
     {f"mlops_endpoint_release_digest{{{RELEASED}}}": "1x9", f"mlops_model_digest{{{OTHER}}}": "1x9"},
     {f"mlops_endpoint_release_digest{{{RELEASED}}}": "1x9", f"mlops_model_digest{{{REGISTERED}}}": "1x9"},
     {**HERE_ONLY, "version": "7"})  # fmt: skip
pair("ModelDrift", "3m", {f"mlops_model_drift_windows{{{MODEL}}}": "2x9"},
     {f"mlops_model_drift_windows{{{MODEL}}}": "0x9"}, {"model": "churn"})  # fmt: skip
pair("QuotaNearlyUsed", "20m", {'mlops_quota_used_ratio{namespace="n",resource="pods"}': "0.95x40"},
     {'mlops_quota_used_ratio{namespace="n",resource="pods"}': "0.5x40"}, {"namespace": "n"})  # fmt: skip
pair("CertificateExpires", "70m", {'mlops_certificate_expires_timestamp_seconds{server="s:443"}': "1200000x90"},
     {'mlops_certificate_expires_timestamp_seconds{server="s:443"}': "1300000x90"}, {"server": "s:443"})  # fmt: skip
pair("GpuPoolFull", "40m", {"mlops_gpu_pods_waiting": "1x60"}, {"mlops_gpu_pods_waiting": "0x60"})
pair("GpuPoolIdle", "70m", {"mlops_gpus_allocatable": "1x90", "mlops_gpus_requested": "0x90"},
     {"mlops_gpus_allocatable": "1x90", "mlops_gpus_requested": "1x90"})  # fmt: skip
pair("TrainingLate", "15d", {SUCCEEDED % ("training", "weekly"): "0x400"},
     {SUCCEEDED % ("training", "weekly"): "0+3600x400", SUCCEEDED % ("validation", "weekly"): "0x400"},
     {"training": "weekly"}, interval="1h")  # fmt: skip
pair("ValidationLate", "90m", {SUCCEEDED % ("validation", "weekly"): "0x99"},
     {SUCCEEDED % ("validation", "weekly"): "0+60x99", SUCCEEDED % ("training", "weekly"): "0x99"},
     {"training": "weekly"})  # fmt: skip

MORE = [
    Case(name="a version that the registry has no longer is not replaced", alert="ReleasedVersionReplaced", at="5m",
         series={f"mlops_endpoint_release_digest{{{RELEASED}}}": "1x9"}, fires=None),
    Case(name="a shadow's failures fire no alert", alert="EndpointFailing", at="1m", interval="5s",
         series=traffic("0+20x40", "0+180x40", role="shadow"), fires=None),
    Case(name="one failure among few requests fires no alert", alert="EndpointFailing", at="1m", interval="5s",
         series=traffic("0x6 1x40", "0x6 1x40"), fires=None),
    Case(name="an endpoint without any pod is down", alert="EndpointDown", at="3m", series={UP % "other": "1x9"},
         fires=HERE_ONLY),
    Case(name="a burn that has stopped is over", alert="EndpointErrorBudgetFast", at="2h",
         series=traffic("0+60x100 6000x100"), fires=None),
    Case(name="a bound of whole seconds as Prometheus 3 writes it", alert="EndpointSlow", at="30m",
         series={**bucket("1.0", "0+60x60", "slow"), **counted("0+600x60", "slow")}, fires={"endpoint": "slow"}),
    Case(name="a bound of whole seconds as Prometheus 2 writes it", alert="EndpointSlow", at="30m",
         series={**bucket("1", "0+60x60", "slow"), **counted("0+600x60", "slow")}, fires={"endpoint": "slow"}),
    Case(name="an endpoint without objectives has no error budget", alert="EndpointErrorBudgetFast", at="2h",
         series={each.replace('endpoint="churn"', 'endpoint="other"'): values
                 for each, values in traffic("0+60x200").items()}, fires=None),
    Case(name="a column that was always missing on the first day", alert="InputMissing", at="3h",
         series={**ROWS, **traffic("0x2000"), AGE: "0+300x2000"}, fires=None),
]  # fmt: skip


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    assert {each.alert for each in rules.alerts(PLATFORM)} == FIRING.keys() == SILENT.keys()


@pytest.mark.long
def test_each_alert_fires_and_is_silent_as_written_down(tmp_path: Path) -> None:
    done = check(PLATFORM, [*FIRING.values(), *SILENT.values(), *MORE], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_the_rules_are_valid_for_prometheus(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(json.dumps(rules.document(PLATFORM)))
    subprocess.run([BINARY, "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yml"], check=True)


def test_each_series_of_the_exporter_that_an_alert_reads_exists() -> None:
    read = set(re.findall(r"\bmlops_(\w+)", json.dumps(rules.document(PLATFORM))))
    assert read <= exporter.HELP.keys()


def test_an_alert_says_what_is_wrong_and_what_to_do_in_sentences() -> None:
    for alert in rules.alerts(PLATFORM):
        assert alert.summary.endswith("."), alert.alert
        assert alert.action.endswith("."), alert.alert
