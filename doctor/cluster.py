"""Checks of a running cluster, of any kind: API, nodes, pods, certificates, MLflow and served versions."""

from __future__ import annotations

import base64
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cryptography import x509

from components.endpoint import release
from components.endpoint.release import Release
from contract import names
from contract.stages import CHAMPION
from contract.tags import MODEL_DIGEST
from doctor.findings import Finding, UncheckedError, ok, problem, warning
from infra.config.stack import Settings
from runs.cluster import Cluster, Object
from runs.errors import ClusterError
from runs.tracking import TokenAuth

FORBIDDEN = re.compile(r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"')
SOON = timedelta(days=30)
"""Remaining life of a certificate below which it is reported."""
SKEW = 1
"""Largest difference of minor versions between kubectl and the API server that Kubernetes supports."""
PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
COMPONENT = "app.kubernetes.io/component"
RECENT = timedelta(days=1)
"""Time for which a restart of a container is reported."""


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """Reads objects of a cluster. A missing permission and an API that does not respond raise UncheckedError."""

    cluster: Cluster
    """Access through kubectl, with a time limit."""
    kubectl: str = "kubectl"
    """Beginning of the commands in the findings, such as `kubectl --context prod`."""

    def read(self, *arguments: str, namespace: str = names.PLATFORM) -> Object:
        """Return the output of `kubectl ARGUMENTS` as JSON."""
        with permitted():
            return self.cluster.read(*arguments, namespace=namespace)

    def items(self, kind: str, *, namespace: str = names.PLATFORM) -> list[Object]:
        """Return the objects of a kind, in a namespace if the kind has namespaces."""
        return self.read("get", kind, namespace=namespace)["items"]

    def command(self, words: str) -> str:
        """Return the kubectl command for a person."""
        return f"{self.kubectl} {words}"


@contextmanager
def permitted() -> Generator[None]:
    """Turn the API server's refusal of a permission into UncheckedError."""
    try:
        yield
    except ClusterError as error:
        if "forbidden" not in str(error).lower():
            raise
        found = FORBIDDEN.search(str(error))
        permission = f"{found['verb']} {found['resource']}" if found else "that the message names"
        raise UncheckedError(
            f"it needs the Kubernetes permission to {permission}" if found else str(error),
            f"kubectl auth can-i {permission} shows who has it; an administrator can grant it",
        ) from error


def api(kubernetes: Kubernetes) -> Iterator[Finding]:
    """Check that the API server responds, and that kubectl supports its version."""
    try:
        found = kubernetes.read("version")
    except ClusterError as error:
        yield problem(
            f"the cluster does not respond: {error}",
            "pulumi can neither preview nor deploy",
            f"run {kubernetes.command('cluster-info')}; a private API is reached from the VPC or through a VPN only",
        )
        return
    server, client = found["serverVersion"], found["clientVersion"]
    newest, mine = _minor(server), _minor(client)
    if abs(newest - mine) > SKEW:
        yield warning(
            f"kubectl is {client['gitVersion']}, and the cluster {server['gitVersion']}",
            f"kubectl supports clusters of {SKEW} minor version above or below its own",
            f"install kubectl 1.{newest}",
        )
    yield ok(f"Kubernetes {server['gitVersion']} responds")


def _minor(version: Mapping[str, str]) -> int:
    return int(re.sub(r"\D", "", version["minor"]))


def platform(kubernetes: Kubernetes) -> Iterator[Finding]:
    """Find out whether the platform was deployed; before the first update there is nothing more to check."""
    there = {each["metadata"]["name"] for each in kubernetes.items("namespaces")}
    if names.PLATFORM in there:
        yield ok("the cluster has the platform's namespaces")
    else:
        yield ok("the platform is not deployed yet; pulumi up does it", ends=True)


def nodes(kubernetes: Kubernetes) -> Iterator[Finding]:
    """Check that every node is ready and has room on its disk and in its memory."""
    found = kubernetes.items("nodes")
    for node in found:
        name = node["metadata"]["name"]
        conditions = {each["type"]: each for each in node["status"].get("conditions", [])}
        ready = conditions.get("Ready", {"status": "Unknown"})
        if ready["status"] != "True":
            yield problem(
                f"node {name} is not ready: {_reason(ready)}",
                "its pods do not run, and no pod is placed on it",
                f"run {kubernetes.command(f'describe node {name}')}",
            )
        for pressure in PRESSURES:
            if conditions.get(pressure, {}).get("status") == "True":
                yield warning(
                    f"node {name} has {pressure}: {_reason(conditions[pressure])}",
                    "Kubernetes evicts pods from it and places none on it",
                    f"run {kubernetes.command(f'describe node {name}')}",
                )
        if node["spec"].get("unschedulable"):
            yield warning(
                f"node {name} is cordoned",
                "no pod is placed on it",
                f"run {kubernetes.command(f'uncordon {name}')} when its maintenance has ended",
            )
    yield ok(f"{len(found)} nodes: {', '.join(sorted(node['metadata']['name'] for node in found)) or 'none'}")


def _reason(condition: Mapping[str, Any]) -> str:
    return " ".join(filter(None, [condition.get("reason"), condition.get("message")])) or "the node does not report"


def pods(kubernetes: Kubernetes, namespace: str) -> Iterator[Finding]:
    """Check that each pod of a namespace is ready; finished pods of Jobs are left out."""
    found = [each for each in kubernetes.items("pods", namespace=namespace) if not _is_finished(each)]
    broken = 0
    for pod in found:
        name = pod["metadata"]["name"]
        logs = kubernetes.command(f"-n {namespace} logs {name} --all-containers --prefix --tail 50")
        describe = kubernetes.command(f"-n {namespace} describe pod {name}")
        if pod["metadata"].get("deletionTimestamp"):
            continue
        if fault := _fault(pod):
            broken += 1
            waits = any(word in fault for word in ("Image", "Unschedulable", "ContainerCreating", "CreateContainer"))
            yield problem(
                f"pod {name} is not ready: {fault}",
                "it serves no requests" if namespace != names.TRAINING else "its run makes no progress",
                f"run {describe if waits else logs}",
            )
        elif restarted := _restarts(pod):
            yield warning(
                f"pod {name} restarted: {restarted}", "requests in progress were lost", f"run {logs} --previous"
            )
    yield ok(f"{len(found) - broken} of {len(found)} pods are ready")


def _is_finished(pod: Object) -> bool:
    """Return whether the pod has ended and no controller of a service waits for it; a run's result is not judged."""
    return pod["status"].get("phase") in {"Succeeded", "Failed"}


def _fault(pod: Object) -> str:
    """Return why the pod is not ready; empty if it is."""
    status = pod["status"]
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    if conditions.get("PodScheduled", {}).get("status") == "False":
        return _reason(conditions["PodScheduled"])
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") != "PodInitializing":
            last = container.get("lastState", {}).get("terminated", {})
            ended = f"; it ended with exit code {last['exitCode']}: {last.get('reason', '')}" if last else ""
            return f"container {container['name']} waits: {_reason(waiting)}{ended} {last.get('message', '')}".strip()
    running = [each["name"] for each in status.get("containerStatuses", []) if not each.get("ready")]
    if pod["metadata"].get("ownerReferences", [{}])[0].get("kind") == "Job" and status.get("phase") == "Running":
        return ""  # a run has no readiness probe of its own, and is not ready in its last moments
    return f"container {', '.join(running)} runs and is not ready" if running else _reason(conditions.get("Ready", {}))


def _restarts(pod: Object) -> str:
    """Return the last restart of the pod's containers within a day; empty if there was none."""
    for container in pod["status"].get("containerStatuses", []):
        last = container.get("lastState", {}).get("terminated")
        if last and datetime.now(UTC) - _time(last["finishedAt"]) < RECENT:
            return (
                f"container {container['name']}, the last time at {last['finishedAt']} with exit code "
                f"{last['exitCode']} ({last.get('reason', 'no reason')})"
            )
    return ""


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def certificates(kubernetes: Kubernetes) -> Iterator[Finding]:
    """Check the age of the certificates in the kubeconfig: of the cluster's authority and of the client."""
    config = kubernetes.read("config", "view", "--raw", "--minify")
    found = {
        "certificate authority of the cluster": _encoded(config["clusters"], "cluster", "certificate-authority-data"),
        "client certificate of the kubeconfig": _encoded(config["users"], "user", "client-certificate-data"),
    }
    readable = {name: text for name, text in found.items() if text}
    for name, text in readable.items():
        ends = x509.load_pem_x509_certificate(base64.b64decode(text)).not_valid_after_utc
        left = ends - datetime.now(UTC)
        until = f"the {name} is valid until {ends:%Y-%m-%d}"
        renew = "get a new kubeconfig from the cluster's administrator (kubeadm: kubeadm certs renew all)"
        if left < timedelta():
            yield problem(until, "the cluster refuses every request", renew)
        elif left < SOON:
            yield warning(until, f"that is in {left.days} days; then the cluster refuses every request", renew)
        else:
            yield ok(until)
    if not readable:
        raise UncheckedError(
            "the kubeconfig has no certificate in itself: it names files, or a program that gets tokens"
        )


def _encoded(entries: Sequence[Mapping[str, Any]] | None, kind: str, key: str) -> str:
    return next((each[kind][key] for each in entries or [] if each.get(kind, {}).get(key)), "")


@contextmanager
def mlflow(kubernetes: Kubernetes, uri: str | None) -> Generator[httpx.Client]:
    """Yield a client of the stack's MLflow: at the URI, else through a port-forward. It makes GET requests only."""
    if uri:
        with httpx.Client(base_url=uri, timeout=10) as http:
            yield http
        return
    tunnel = kubernetes.cluster.forwarded(names.PLATFORM, names.TRACKING_SERVICE, names.TRACKING_PORT)
    with (
        permitted(),
        tunnel as address,
        httpx.Client(
            base_url=address,
            headers={"Host": names.TRACKING_HOST},
            auth=TokenAuth(kubernetes.cluster, names.PEOPLE),
            timeout=10,
        ) as http,
    ):
        yield http


def tracking(kubernetes: Kubernetes, uri: str | None) -> Iterator[Finding]:
    """Check that MLflow responds."""
    look = kubernetes.command(f"-n {names.PLATFORM} get pods,events")
    try:
        with mlflow(kubernetes, uri) as http:
            response = http.get("/health")
    except (ClusterError, httpx.HTTPError) as error:
        yield problem(
            f"MLflow does not respond: {error}", "no run is recorded, and no version is verified", f"run {look}"
        )
        return
    if response.is_error:
        yield problem(
            f"MLflow responds {response.status_code} {response.text[:100].strip()}",
            "no run is recorded, and no version is verified",
            f"run {kubernetes.command(f'-n {names.PLATFORM} logs deployment/{names.TRACKING_SERVICE} --tail 50')}",
        )
        return
    yield ok(f"MLflow responds{f' at {uri}' if uri else ' through a port-forward'}")


def served(kubernetes: Kubernetes, name: str, version: int) -> Iterator[Finding]:
    """Check that an endpoint's version is the same in the stack file, in the cluster and in a pod's response."""
    found = [
        each
        for each in kubernetes.items("deployments", namespace=names.SERVING)
        if each["metadata"].get("labels", {}).get(names.INSTANCE) == name and _is_champion(each)
    ]
    if not found:
        yield warning(f"{name} is in the stack file and not in the cluster", "clients get no response", "run pulumi up")
        return
    deployed = found[0]["metadata"]["labels"].get(names.VERSION, "")
    if deployed != str(version):
        yield warning(
            f"the stack file says version {version} of {name}, and the cluster has version {deployed or 'unknown'}",
            "clients get another version than the file says",
            "run pulumi up, or write the version that is served into the file",
        )
    rollout = kubernetes.command(f"-n {names.SERVING} rollout status deployment/{found[0]['metadata']['name']}")
    try:
        with permitted(), kubernetes.cluster.forwarded(names.SERVING, name, 80) as address:
            response = httpx.get(f"{address}/ping", timeout=10)
    except (ClusterError, httpx.HTTPError) as error:
        yield problem(f"no pod of {name} responds: {error}", "clients get no response", f"run {rollout}")
        return
    answers = response.headers.get("x-model-version", "")
    if response.is_error:
        yield problem(f"{name} responds {response.status_code} to /ping", "clients get errors", f"run {rollout}")
    elif answers != deployed:
        yield problem(
            f"a pod of {name} responds with version {answers or 'unknown'}, and its Deployment has {deployed}",
            "a release has not ended, or was rolled back in the cluster",
            f"run {rollout}",
        )
    elif deployed == str(version):
        yield ok(f"version {version} of {name} is in the file, in the cluster and in the response")


def _is_champion(deployment: Object) -> bool:
    """Return whether the Deployment has the served version of an endpoint: no challenger, no shadow and no router."""
    component = deployment["metadata"].get("labels", {}).get(COMPONENT)
    return component not in {"challenger", "shadow", "router"}


def champions(kubernetes: Kubernetes, uri: str | None, settings: Settings) -> Iterator[Finding]:
    """Check that each served version is in MLflow with the files that were released, and is its model's champion."""
    released = {
        one.model: one
        for each in kubernetes.items("deployments", namespace=names.SERVING)
        if _is_champion(each) and (one := release.served(each["metadata"].get("annotations")))
    }
    try:
        with mlflow(kubernetes, uri) as http:
            for name, endpoint in settings.endpoints.items():
                model = settings.served_model(name)
                yield from _registered(
                    http,
                    model,
                    endpoint.version,
                    is_champion=settings.champion_endpoint(model) == name,
                    served=released.get(model),
                )
    except httpx.HTTPError as error:
        raise UncheckedError(f"MLflow did not respond: {error}") from error


def _registered(
    http: httpx.Client, model: str, version: int, *, is_champion: bool, served: Release | None
) -> Iterator[Finding]:
    response = http.get("/api/2.0/mlflow/registered-models/get", params={"name": model})
    if response.status_code == httpx.codes.NOT_FOUND.value:
        why = "no version of it can be released or validated"
        yield problem(f"MLflow has no model {model}", why, f"train one: mlops train (model: {model})")
        return
    aliases = {each["alias"]: int(each["version"]) for each in _json(response)["registered_model"].get("aliases", [])}
    registered = http.get("/api/2.0/mlflow/model-versions/get", params={"name": model, "version": version})
    if registered.status_code == httpx.codes.NOT_FOUND.value:
        yield problem(
            f"MLflow has no version {version} of {model}",
            "nothing can be compared with it, and another stack cannot release it",
            f"run mlops models {model}, and write a version that exists into the stack file",
        )
        return
    tags = {each["key"]: each.get("value") for each in _json(registered)["model_version"].get("tags", [])}
    digest = tags.get(MODEL_DIGEST) or "none"
    if served and served.version == version and served.digest not in {"", digest}:
        yield problem(
            f"version {version} of {model} has the digest {digest[:12]} in MLflow, and was released with "
            f"{served.digest[:12]}",
            "the registered version was replaced; the released files stay in use",
            f"find out who replaced it, and train {model} again",
        )
    elif not is_champion:
        yield ok(f"version {version} of {model} is in MLflow")
    elif (best := aliases.get(CHAMPION)) is None:
        yield warning(
            f"{model} has no @{CHAMPION}",
            "validations have no version to compare with",
            f"run mlops promote {model} {version} production",
        )
    elif best != version:
        yield warning(
            f"@{CHAMPION} of {model} is version {best}, and the stack file serves {version}",
            "new versions are validated against a version that clients do not get",
            f"run mlops promote {model} {version} production, or write version {best} into the file",
        )
    else:
        yield ok(f"version {version} of {model} is its @{CHAMPION}")


def _json(response: httpx.Response) -> Mapping[str, Any]:
    if response.is_error:
        raise UncheckedError(f"MLflow responded {response.status_code}: {response.text[:100].strip()}")
    return response.json()
