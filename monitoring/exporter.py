"""Exporter of the platform's state as metrics: releases, model versions, Jobs, quotas, GPUs and certificates.

It reads Kubernetes and MLflow every REFRESH_SECONDS, and a scrape gets what was read last. The program is this file
alone: it runs in the serving image, from a ConfigMap, so that a change of it changes no image.
"""

import argparse
import json
import logging
import socket
import ssl
import time
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contract import names
from contract.stages import CHALLENGER, CHAMPION, PREVIOUS
from contract.tags import DRIFT_AT, DRIFT_STATUS, DRIFT_WINDOWS, MODEL_DIGEST, PROPOSED, VALIDATION_STATUS

LOG = logging.getLogger("exporter")
PORT = 9464
REFRESH_SECONDS = 15
REQUEST_SECONDS = 10
PAGE, VERSIONS = 100, 50
"""Models in one page of the registry; newest versions of a model that are read."""
GPU = "nvidia.com/gpu"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NAMESPACES = (names.PLATFORM, names.TRAINING, names.SERVING)

Object = Mapping[str, Any]
"""Object of Kubernetes or MLflow, as decoded JSON."""
Labels = Mapping[str, str]
UNITS = {
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
    "m": 0.001,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
}
"""Factors of the suffixes of Kubernetes quantities."""


@dataclass(frozen=True)
class Sample:
    """One value of a metric."""

    metric: str
    """Name of the metric without the prefix `mlops_`."""
    value: float
    """Value of the sample; a time is in seconds since 1970."""
    labels: Labels
    """Labels of the sample."""


HELP: Mapping[str, str] = {
    "endpoint_pods_desired": "Pods that a Deployment of an endpoint shall have",
    "endpoint_pods_ready": "Ready pods of a Deployment of an endpoint",
    "endpoint_pods_minimum": "Smallest number of pods that the autoscaler chooses",
    "endpoint_pods_maximum": "Largest number of pods that the autoscaler chooses",
    "endpoint_version": "Version of the model: declared by the Deployment, or the oldest that a ready pod serves",
    "endpoint_release_stuck": "1 if the release made no progress within its deadline",
    "endpoint_release_digest": "1 with the digest of the files that were released",
    "model_version": "Number of a model's version with this alias, or of the newest one",
    "model_created_timestamp_seconds": "Time at which the version was registered",
    "model_validation": "1 with the status of the version's validation",
    "model_digest": "1 with the digest that the registry has for the version's files, or none",
    "model_proposed": "Versions of the model that are proposed for release",
    "certificate_expires_timestamp_seconds": "End of the validity of a server's certificate",
    "model_drift": "1 with the result of the last look for drift that was recorded for the version",
    "model_drift_timestamp_seconds": "End of the last window that was recorded for the version",
    "model_drift_windows": "Recorded windows in a row that drifted and changed the version's predictions",
    "job_succeeded_timestamp_seconds": "End of the last Job that succeeded; 0 if none did",
    "job_failed_timestamp_seconds": "End of the last Job that failed; 0 if none did",
    "jobs_active": "Jobs that run now",
    "schedule_succeeded_timestamp_seconds": "End of the last scheduled run that succeeded, or the schedule's creation",
    "quota_used_ratio": "Used share of a namespace's quota",
    "gpus_allocatable": "GPUs of the cluster's nodes",
    "gpus_requested": "GPUs of the running training pods",
    "gpu_pods_waiting": "Training pods with GPUs that no node has room for",
    "mlflow_up": "1 if MLflow answered the last requests",
    "kubernetes_up": "1 if Kubernetes answered the last requests",
    "artifact_store_up": "1 if the artifact store answered the last request",
}
"""Description of each metric, by its name without the prefix `mlops_`."""


class ReadError(Exception):
    """A request failed; the message names its URL and the reason."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """HTTP API with a bearer token from a file, which may be replaced at any time."""

    url: str
    """URL without a path."""
    token: Path | None = None
    """File of the token; None, or an absent file, for requests without one."""
    ca: Path | None = None
    """File of the certificate authority; None for that of the system."""

    def read(self, path: str, **query: object) -> Object:
        """Return the JSON response of a GET request; raise ReadError if it fails."""
        return json.loads(self.get(f"{path}?{urllib.parse.urlencode(query)}" if query else path) or "{}")

    def get(self, path: str) -> bytes:
        """Return the body of the response; raise ReadError if there is none, or its status is not 200."""
        request = urllib.request.Request(f"{self.url}{path}")
        if self.token and self.token.exists():
            request.add_header("Authorization", f"Bearer {self.token.read_text().strip()}")
        context = self._context() if self.ca else None
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS, context=context) as response:
                return response.read()
        except (OSError, ValueError) as error:
            raise ReadError(f"GET {self.url}{path} failed: {error}") from error

    def certificate(self) -> Iterator[Sample]:
        """Yield the end of the server's certificate; nothing for HTTP. Raise ReadError if no connection opens."""
        address = urllib.parse.urlsplit(self.url)
        if address.scheme != "https" or not address.hostname:
            return
        try:
            with (
                socket.create_connection((address.hostname, address.port or 443), REQUEST_SECONDS) as connection,
                self._context().wrap_socket(connection, server_hostname=address.hostname) as verified,
            ):
                found = verified.getpeercert() or {}
        except OSError as error:
            raise ReadError(f"the certificate of {address.netloc} cannot be read: {error}") from error
        ends = ssl.cert_time_to_seconds(str(found["notAfter"]))
        yield Sample("certificate_expires_timestamp_seconds", ends, {"server": address.netloc})

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca) if self.ca else None)


def kubernetes(source: Source) -> list[Sample]:
    """Return the samples of releases, Jobs, quotas, GPUs and the API server's certificate.

    Raise ReadError if a request fails.
    """

    def items(path: str, namespace: str | None = None, **query: object) -> list[Object]:
        group, _, kind = path.rpartition("/")
        return source.read(f"/{group}/{f'namespaces/{namespace}/' if namespace else ''}{kind}", **query)["items"]

    training = {"labelSelector": "app.kubernetes.io/component in (training,validation)"}
    serving = {"labelSelector": names.among({names.NAME: tuple(names.SERVERS.values())})}
    jobs = items("apis/batch/v1/jobs", names.TRAINING, **training)
    return [
        *releases(
            items("apis/apps/v1/deployments", names.SERVING, **serving),
            items("api/v1/pods", names.SERVING, **serving),
            items("apis/autoscaling/v2/horizontalpodautoscalers", names.SERVING),
        ),
        *runs(jobs, items("apis/batch/v1/cronjobs", names.TRAINING, **training)),
        *quotas([each for name in NAMESPACES for each in items("api/v1/resourcequotas", name)]),
        *gpus(items("api/v1/nodes"), items("api/v1/pods", names.TRAINING, **training)),
        *source.certificate(),
    ]


def releases(deployments: Sequence[Object], pods: Sequence[Object], autoscalers: Sequence[Object]) -> Iterator[Sample]:
    """Yield the samples of the endpoints' Deployments: those with the annotation of a release."""
    limits = {each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in autoscalers}
    for each in deployments:
        meta, status = each["metadata"], each.get("status", {})
        if names.RELEASE not in meta.get("annotations", {}):
            continue
        here = {"endpoint": meta["labels"][names.INSTANCE], "deployment": meta["name"]}
        yield Sample("endpoint_pods_desired", each["spec"].get("replicas", 1), here)
        yield Sample("endpoint_pods_ready", status.get("readyReplicas", 0), here)
        conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
        yield Sample("endpoint_release_stuck", float(conditions.get("Progressing") == "False"), here)
        if limit := limits.get(meta["name"]):
            yield Sample("endpoint_pods_minimum", limit.get("minReplicas", 1), here)
            yield Sample("endpoint_pods_maximum", limit["maxReplicas"], here)
        release = json.loads(meta["annotations"][names.RELEASE])
        model, version = {**here, "model": str(release["model"])}, meta["labels"][names.VERSION]
        yield Sample("endpoint_version", float(version), {**model, "state": "declared"})
        if digest := release.get("digest"):
            yield Sample("endpoint_release_digest", 1, {**model, "version": version, "digest": digest})
        wanted = each["spec"]["selector"]["matchLabels"].items()
        ready = [
            int(pod["metadata"]["labels"][names.VERSION])
            for pod in pods
            if wanted <= pod["metadata"]["labels"].items() and _is_ready(pod)
        ]
        if ready:
            yield Sample("endpoint_version", min(ready), {**model, "state": "ready"})


def runs(jobs: Sequence[Object], cron_jobs: Sequence[Object]) -> Iterator[Sample]:
    """Yield the samples of training and validation Jobs and of schedules that are not suspended."""
    ends: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: {"succeeded": 0, "failed": 0, "active": 0})
    for job in jobs:
        last = ends[_kind(job)]
        outcomes = {
            {"Complete": "succeeded", "Failed": "failed"}.get(each["type"]): _seconds(each["lastTransitionTime"])
            for each in job.get("status", {}).get("conditions", ())
            if each["status"] == "True"
        }
        for outcome in ("succeeded", "failed"):
            last[outcome] = max(last[outcome], outcomes.get(outcome, 0))
        last["active"] += job.get("status", {}).get("active", 0) > 0
    for (kind, training), last in ends.items():
        labels = {"kind": kind, "training": training}
        yield Sample("job_succeeded_timestamp_seconds", last["succeeded"], labels)
        yield Sample("job_failed_timestamp_seconds", last["failed"], labels)
        yield Sample("jobs_active", last["active"], labels)
    for each in cron_jobs:
        kind, training = _kind(each)
        if not each["spec"].get("suspend"):
            last_time = each.get("status", {}).get("lastSuccessfulTime") or each["metadata"]["creationTimestamp"]
            yield Sample(
                "schedule_succeeded_timestamp_seconds", _seconds(last_time), {"kind": kind, "training": training}
            )


def quotas(found: Sequence[Object]) -> Iterator[Sample]:
    """Yield the used share of each limit of the namespaces' quotas."""
    for each in found:
        hard, used = each.get("status", {}).get("hard", {}), each.get("status", {}).get("used", {})
        for resource, limit in hard.items():
            if amount(limit):
                labels = {"namespace": each["metadata"]["namespace"], "resource": resource}
                yield Sample("quota_used_ratio", amount(used.get(resource, "0")) / amount(limit), labels)


def gpus(nodes: Sequence[Object], pods: Sequence[Object]) -> Iterator[Sample]:
    """Yield the GPUs that nodes have and training pods use, and the pods that wait for one."""
    requested, waiting = 0.0, 0
    for pod in pods:
        wanted = sum(amount(each.get("resources", {}).get("requests", {}).get(GPU, "0")) for each in _containers(pod))
        phase, scheduled = pod["status"].get("phase"), pod["spec"].get("nodeName")
        if phase in {"Pending", "Running"} and scheduled:
            requested += wanted
        waiting += bool(wanted and phase == "Pending" and not scheduled)
    yield Sample("gpus_allocatable", sum(amount(each["status"]["allocatable"].get(GPU, "0")) for each in nodes), {})
    yield Sample("gpus_requested", requested, {})
    yield Sample("gpu_pods_waiting", waiting, {})


def registry(source: Source) -> list[Sample]:
    """Return the samples of the registered models; raise ReadError if a request fails."""
    return [sample for model in _models(source) for sample in versions(model, _versions(source, model["name"]))]


def versions(model: Object, newest_first: Sequence[Object]) -> Iterator[Sample]:
    """Yield the samples of one model: its aliases, and its newest versions."""
    for each in newest_first:
        files = {"version": str(each["version"]), "digest": _tags(each).get(MODEL_DIGEST, "none")}
        yield Sample("model_digest", 1, {"model": model["name"], **files})
    by_number = {str(each["version"]): each for each in newest_first}
    named = {each["alias"]: str(each["version"]) for each in model.get("aliases", ())}
    which = {alias: number for alias, number in named.items() if alias in {CHAMPION, CHALLENGER, PREVIOUS}}
    if newest_first:
        which["newest"] = str(newest_first[0]["version"])
    for name, number in which.items():
        labels = {"model": model["name"], "which": name}
        yield Sample("model_version", float(number), labels)
        if version := by_number.get(number):
            yield Sample("model_created_timestamp_seconds", int(version["creation_timestamp"]) / 1000, labels)
            status = _tags(version).get(VALIDATION_STATUS, "none")
            yield Sample("model_validation", 1, {**labels, "status": status})
            yield from _drift(_tags(version), {**labels, "version": number})
    proposed = Counter(_tags(each).get(PROPOSED, "false") != "false" for each in newest_first)[True]
    yield Sample("model_proposed", proposed, {"model": model["name"]})


def _drift(tags: Mapping[str, str], labels: Labels) -> Iterator[Sample]:
    """Yield the samples of a version's last recorded look for drift; none if there was no look."""
    if not (end := tags.get(DRIFT_AT)):
        return
    yield Sample("model_drift", 1, {**labels, "status": tags.get(DRIFT_STATUS, "none")})
    yield Sample("model_drift_timestamp_seconds", _seconds(end), labels)
    yield Sample("model_drift_windows", float(tags.get(DRIFT_WINDOWS, 0)), labels)


def reached(source: Source) -> list[Sample]:
    """Return no samples if the URL answers; raise ReadError otherwise."""
    source.get("")
    return []


def amount(quantity: str) -> float:
    """Return the number in a Kubernetes quantity, such as 0.5 for `500m`."""
    unit = next((unit for unit in UNITS if quantity.endswith(unit)), "")
    return float(quantity.removesuffix(unit)) * UNITS.get(unit, 1)


def _models(source: Source) -> Iterator[Object]:
    token = ""
    while True:
        more = {"page_token": token} if token else {}
        page = source.read("/api/2.0/mlflow/registered-models/search", max_results=PAGE, **more)
        yield from page.get("registered_models", ())
        if not (token := page.get("next_page_token", "")):
            return


def _versions(source: Source, model: str) -> Sequence[Object]:
    # MLflow knows no escape for a quote inside the same quotes.
    query = {"filter": f'name="{model}"', "order_by": "version_number DESC", "max_results": VERSIONS}
    return source.read("/api/2.0/mlflow/model-versions/search", **query).get("model_versions", ())


def _tags(version: Object) -> Mapping[str, str]:
    return {each["key"]: each["value"] for each in version.get("tags", ())}


def _is_ready(pod: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _kind(item: Object) -> tuple[str, str]:
    """Return `training` or `validation`, and the name of the training job."""
    labels: Labels = item["metadata"]["labels"]
    kind, name = labels["app.kubernetes.io/component"], labels[names.INSTANCE]
    return kind, name.removesuffix("-validation") if kind == "validation" else name


def _containers(pod: Object) -> Iterable[Object]:
    return pod["spec"].get("containers", ())


def _seconds(time_text: str) -> float:
    return datetime.fromisoformat(time_text).timestamp()


class Exporter(Collector):
    """Metrics of what was read last. If a source does not answer, its series disappear and its `up` is 0."""

    def __init__(self, sources: Mapping[str, Callable[[], list[Sample]]]) -> None:
        self._sources = sources
        self._samples: dict[str, list[Sample]] = {}

    def refresh(self) -> None:
        """Read all sources."""
        for name, read in self._sources.items():
            try:
                found, up = read(), 1.0
            except (ReadError, KeyError, ValueError) as error:
                LOG.warning("%s: %s", name, error if isinstance(error, ReadError) else repr(error))
                found, up = [], 0.0
            self._samples[name] = [*found, Sample(f"{name}_up", up, {})]

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families of the last samples."""
        by_metric: dict[str, list[Sample]] = defaultdict(list)
        for sample in [each for found in self._samples.values() for each in found]:
            by_metric[sample.metric].append(sample)
        for metric, samples in by_metric.items():
            family = GaugeMetricFamily(f"mlops_{metric}", HELP[metric], labels=list(samples[0].labels))
            for sample in samples:
                family.add_metric(list(sample.labels.values()), sample.value)
            yield family


def main() -> None:
    """Serve the metrics until the process ends."""
    parser = argparse.ArgumentParser(description="Serve the platform's state as metrics.")
    parser.add_argument("--kubernetes", help="URL of the API server", default="https://kubernetes.default.svc")
    parser.add_argument("--credentials", help="folder with `token` and `ca.crt`", type=Path, default=SERVICE_ACCOUNT)
    parser.add_argument("--mlflow", help="URL of MLflow", required=True)
    parser.add_argument("--mlflow-token", help="file of the token for MLflow", type=Path)
    parser.add_argument("--store", help="URL of a health page of the artifact store")
    parser.add_argument("--port", help="port of /metrics", type=int, default=PORT)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    authority = asked.credentials / "ca.crt"
    api = Source(url=asked.kubernetes, token=asked.credentials / "token", ca=authority if authority.exists() else None)
    tracking = Source(url=asked.mlflow, token=asked.mlflow_token)
    sources: dict[str, Callable[[], list[Sample]]] = {
        "kubernetes": lambda: kubernetes(api),
        "mlflow": lambda: registry(tracking),
    }
    if asked.store:
        store = Source(url=asked.store)
        sources["artifact_store"] = lambda: reached(store)
    exporter, own = Exporter(sources), CollectorRegistry()
    own.register(exporter)
    exporter.refresh()
    start_http_server(asked.port, registry=own)
    while True:
        time.sleep(REFRESH_SECONDS)
        exporter.refresh()


if __name__ == "__main__":
    main()
