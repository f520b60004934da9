"""Series of the exporter about objects of Kubernetes and of MLflow."""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient
from prometheus_client import CollectorRegistry, generate_latest

from contract import names
from monitoring import exporter
from monitoring.exporter import Sample, Source
from tests.issuer import Issuer
from tests.mlflow_server import Server
from tests.monitoring import cluster
from tests.monitoring.prometheus import free_port, process


def values(samples: Iterable[Sample]) -> Mapping[str, float]:
    """Return the values by metric and labels, as a scrape shows them."""
    return {
        f"{each.metric}{{{','.join(f'{key}={value}' for key, value in each.labels.items())}}}": each.value
        for each in samples
    }


def test_a_release_in_progress_shows_the_declared_and_the_oldest_ready_version() -> None:
    pods = [cluster.pod("1"), cluster.pod("2", ready=False), cluster.pod("0", deletionTimestamp="now")]
    found = values(exporter.releases([cluster.DEPLOYMENT], pods, [cluster.AUTOSCALER]))
    here = "endpoint=churn-predictor,deployment=churn-predictor"
    assert found == {
        f"endpoint_pods_desired{{{here}}}": 2,
        f"endpoint_pods_ready{{{here}}}": 2,
        f"endpoint_release_stuck{{{here}}}": 0,
        f"endpoint_pods_minimum{{{here}}}": 2,
        f"endpoint_pods_maximum{{{here}}}": 4,
        f"endpoint_version{{{here},model=churn-predictor,state=declared}}": 2,
        f"endpoint_version{{{here},model=churn-predictor,state=ready}}": 1,
    }


def test_the_digest_of_a_release_and_of_each_registered_version_is_shown() -> None:
    annotations = {names.RELEASE: json.dumps({"model": "churn-predictor", "version": 2, "digest": "a1"})}
    released = {**cluster.DEPLOYMENT, "metadata": {**cluster.DEPLOYMENT["metadata"], "annotations": annotations}}
    shown = values(exporter.releases([released], [], []))
    here = "endpoint=churn-predictor,deployment=churn-predictor,model=churn-predictor"
    assert shown[f"endpoint_release_digest{{{here},version=2,digest=a1}}"] == 1
    versions = [cluster.version(3, {}), cluster.version(2, {"model_digest": "b2"})]
    registered = values(exporter.versions(cluster.model(), versions))
    assert [name for name in registered if "digest" in name] == [
        "model_digest{model=churn-predictor,version=3,digest=none}",
        "model_digest{model=churn-predictor,version=2,digest=b2}",
    ]


def test_a_release_without_progress_is_stuck() -> None:
    failed = {**cluster.DEPLOYMENT, "status": {"conditions": [{"type": "Progressing", "status": "False"}]}}
    assert 1 in [each.value for each in exporter.releases([failed], [], []) if each.metric == "endpoint_release_stuck"]


def test_a_deployment_that_is_no_endpoint_is_left_out() -> None:
    other = {**cluster.DEPLOYMENT, "metadata": {"name": "router", "labels": cluster.LABELS}}
    assert not list(exporter.releases([other], [], []))


def test_the_last_end_of_each_kind_of_job_is_shown() -> None:
    jobs = [
        cluster.job("training", "Complete", "2026-11-30T10:00:00Z"),
        cluster.job("training", "Complete", "2026-11-30T12:00:00Z"),
        cluster.job("training", active=1),
        cluster.job("validation", "Failed", "2026-11-30T11:00:00Z"),
    ]
    noon = 1_796_040_000
    assert values(exporter.runs(jobs, [])) == {
        "job_succeeded_timestamp_seconds{kind=training,training=churn}": noon,
        "job_failed_timestamp_seconds{kind=training,training=churn}": 0,
        "jobs_active{kind=training,training=churn}": 1,
        "job_succeeded_timestamp_seconds{kind=validation,training=churn}": 0,
        "job_failed_timestamp_seconds{kind=validation,training=churn}": noon - 3600,
        "jobs_active{kind=validation,training=churn}": 0,
    }


def test_a_schedule_that_never_succeeded_counts_from_its_creation_and_a_suspended_one_not_at_all() -> None:
    found = exporter.runs([], [cluster.schedule(last=None), cluster.schedule(last=None, suspend=True)])
    assert values(found) == {"schedule_succeeded_timestamp_seconds{kind=training,training=churn}": 1_793_491_200}


def test_a_schedule_of_validations_has_a_series_of_its_own() -> None:
    found = exporter.runs([], [cluster.schedule("validation", last="2026-11-01T00:00:00Z")])
    assert values(found) == {"schedule_succeeded_timestamp_seconds{kind=validation,training=churn}": 1_793_491_200}


def test_the_used_share_of_a_quota_is_computed_over_units() -> None:
    assert values(exporter.quotas([cluster.QUOTA])) == {
        f"quota_used_ratio{{namespace={names.SERVING},resource=pods}}": 0.01,
        f"quota_used_ratio{{namespace={names.SERVING},resource=limits.memory}}": 0.5,
    }


@pytest.mark.parametrize(("quantity", "number"), [("500m", 0.5), ("2", 2), ("1Gi", 1 << 30), ("3k", 3000)])
def test_a_quantity_is_a_number(quantity: str, number: float) -> None:
    assert exporter.amount(quantity) == number


def test_a_pod_without_a_node_waits_for_a_gpu_and_uses_none() -> None:
    pods = [
        cluster.training_pod("Running", "gpu-1"),
        cluster.training_pod("Pending", None),
        cluster.training_pod("Succeeded", "gpu-1"),
    ]
    assert values(exporter.gpus([cluster.NODE], pods)) == {
        "gpus_allocatable{}": 1,
        "gpus_requested{}": 1,
        "gpu_pods_waiting{}": 1,
    }


def test_a_models_aliases_its_newest_version_and_its_proposals_are_shown() -> None:
    newest_first = [
        cluster.version(3, {"proposed": "yes", "validation_status": "passed"}),
        cluster.version(2, {"proposed": "false"}),
        cluster.version(1, {"validation_status": "refused"}),
    ]
    shown = values(exporter.versions(cluster.model(champion=1, other=2), newest_first))
    assert {name: value for name, value in shown.items() if "digest" not in name} == {
        "model_version{model=churn-predictor,which=champion}": 1,
        "model_created_timestamp_seconds{model=churn-predictor,which=champion}": 1000,
        "model_validation{model=churn-predictor,which=champion,status=refused}": 1,
        "model_version{model=churn-predictor,which=newest}": 3,
        "model_created_timestamp_seconds{model=churn-predictor,which=newest}": 3000,
        "model_validation{model=churn-predictor,which=newest,status=passed}": 1,
        "model_proposed{model=churn-predictor}": 1,
    }


def test_the_last_look_for_drift_of_a_version_is_shown() -> None:
    look = {"drift_at": "2026-11-30T12:00:00+00:00", "drift_status": "drift", "drift_windows": "2"}
    shown = values(exporter.versions(cluster.model(champion=1), [cluster.version(2, {}), cluster.version(1, look)]))
    champion = "model=churn-predictor,which=champion,version=1"
    assert {name: value for name, value in shown.items() if "drift" in name} == {
        f"model_drift{{{champion},status=drift}}": 1,
        f"model_drift_timestamp_seconds{{{champion}}}": 1796040000,
        f"model_drift_windows{{{champion}}}": 2,
    }


def test_the_end_of_the_api_servers_certificate_is_read_from_its_connection(tmp_path: Path) -> None:
    with Issuer().serving(tmp_path) as (url, authority):
        found = values(Source(url=url, ca=authority).certificate())
        server = url.removeprefix("https://").removesuffix("/keys")
        assert found.keys() == {f"certificate_expires_timestamp_seconds{{server={server}}}"}
        (ends,) = found.values()
        assert time.time() + 23 * 3600 < ends < time.time() + 25 * 3600
        with pytest.raises(exporter.ReadError, match=f"the certificate of {server} cannot be read: .*verify failed"):
            list(Source(url=url).certificate())


def test_the_series_of_a_source_that_no_longer_answers_disappear() -> None:
    answer = [[Sample("model_proposed", 1, {"model": "churn"})]]

    def read() -> list[Sample]:
        if not answer:
            raise exporter.ReadError("refused")
        return answer.pop()

    collector, registry = exporter.Exporter({"mlflow": read}), CollectorRegistry()
    registry.register(collector)
    collector.refresh()
    assert b'mlops_model_proposed{model="churn"} 1.0' in generate_latest(registry)
    collector.refresh()
    assert b"mlops_mlflow_up 0.0" in generate_latest(registry)
    assert b"mlops_model_proposed" not in generate_latest(registry)


@pytest.mark.long
def test_the_program_alone_reads_a_real_mlflow_and_says_that_kubernetes_does_not_answer(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        client = MlflowClient(server.uri)
        client.create_registered_model("it's")
        client.create_model_version("it's", "s3://bucket/files", tags={"proposed": "yes"})
        client.set_registered_model_alias("it's", "champion", "1")
        read = values(exporter.registry(Source(url=server.uri)))
        assert read["model_version{model=it's,which=champion}"] == 1
        assert read["model_proposed{model=it's}"] == 1
        port = free_port()
        command = [sys.executable, exporter.__file__, "--mlflow", server.uri, "--port", str(port)]
        command += ["--kubernetes", f"http://127.0.0.1:{free_port()}", "--store", f"{server.uri}/health"]
        url = f"http://127.0.0.1:{port}/metrics"
        root = str(Path(exporter.__file__).parent.parent)
        with process(command, url, tmp_path / "exporter.log", PYTHONPATH=root):
            shown = Source(url=url).get("").decode()
        assert "mlops_mlflow_up 1.0" in shown
        assert "mlops_artifact_store_up 1.0" in shown
        assert "mlops_kubernetes_up 0.0" in shown
    finally:
        server.kill()
