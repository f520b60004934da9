"""Error hooks for a Deployment that did not become ready: print the reason of its pods and roll it back.

The `kubernetes` plugin prints the messages of a Deployment and of its main containers, but not those of init
containers, such as the list of versions in the registry.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ErrorHook, ErrorHookArgs, ResourceHookBinding

from components.foundation import ClusterAccess
from contract import names

REVISION = "deployment.kubernetes.io/revision"
SECONDS = 30
"""Timeout in seconds for one kubectl call."""
TIMED_OUT = "timed out waiting to be Ready"
"""Part of the `kubernetes` plugin's message for an object that did not become ready in time."""
STARTING = ("ContainerCreating", "PodInitializing")
"""Reasons of a waiting container that are part of every start, not a failure."""


def watch(access: ClusterAccess, roll_back: Collection[str]) -> ResourceHookBinding | None:
    """Return hooks for every Deployment of a stack; None in a preview, which waits for nothing.

    While Kubernetes still reports progress, Pulumi waits once more. Otherwise the hook logs the reason of the pods. If
    the Deployment is named in `roll_back`, the hook then rolls it back in the cluster to the last revision that has
    ready pods. The update still fails, and the stack file still names the release that failed.

    Raises:
        pulumi.RunError: `roll_back` is not empty and kubectl is not on PATH.
    """
    for deployment in sorted(roll_back):
        if not shutil.which("kubectl"):
            raise pulumi.RunError(
                f"mlops:endpoints.{deployment}.rollback_on_failure needs kubectl, and it is not on PATH: the program "
                "rolls a failed release back with kubectl; install it, or leave the key out"
            )
    if pulumi.runtime.is_dry_run():
        return None
    kubeconfig = list[str]()  # empty until the cluster exists, if this update creates it
    if access.kubeconfig is not None:
        pulumi.Output.from_input(access.kubeconfig).apply(kubeconfig.append)

    async def on_error(args: ErrorHookArgs) -> bool:
        unready = unready_deployment(args, roll_back)
        return bool(unready) and await asyncio.to_thread(handle, unready, access.context, "".join(kubeconfig) or None)

    return ResourceHookBinding(on_error=[ErrorHook("rollout", on_error)])


@dataclass(frozen=True, kw_only=True)
class Unready:
    """Deployment that did not become ready in time."""

    name: str
    """Name of the Deployment in the cluster."""
    namespace: str
    """Namespace of the Deployment."""
    selector: Mapping[str, str]
    """Labels that select the Deployment's pods."""
    has_deadline: bool
    """True if the program sets a progress deadline; the default of Kubernetes is 10 minutes."""
    roll_back: bool
    """True if the Deployment is rolled back in the cluster, to its last revision with ready pods."""


def unready_deployment(args: ErrorHookArgs, roll_back: Collection[str]) -> Unready | None:
    """Return the Deployment that did not become ready; None for any other failure, which did not change the cluster."""
    if args.failed_operation == "delete" or TIMED_OUT not in args.errors[0]:
        return None
    declared: Mapping[str, Any] = args.new_inputs or {}
    return Unready(
        name=declared["metadata"]["name"],
        namespace=declared["metadata"]["namespace"],
        selector=declared["spec"]["selector"]["matchLabels"],
        has_deadline="progressDeadlineSeconds" in declared["spec"],
        roll_back=args.failed_operation == "update" and args.name in roll_back,
    )


def handle(unready: Unready, context: str | None, kubeconfig: str | None) -> bool:
    """Log why the Deployment is not ready and roll it back if requested; return whether to wait for it once more."""
    name = unready.name
    with _kubectl(unready.namespace, context, kubeconfig) as kubectl:
        try:
            selector = names.matching(unready.selector)
            kinds = "deployments,replicasets,pods"
            listed = json.loads(_run([*kubectl, "get", kinds, "--selector", selector, "--output", "json"]))["items"]
        except (subprocess.SubprocessError, OSError) as error:
            pulumi.log.warn(f"{name}: the reason of its pods could not be read with kubectl: {_error_text(error)}")
            return False
        if unready.has_deadline and is_progressing(_of_kind("Deployment", listed)):
            return True
        for reason in reasons(listed):
            pulumi.log.error(f"{name}: {reason}")
        if unready.roll_back and (revision := previous_revision(_of_kind("ReplicaSet", listed))) is not None:
            _roll_back(name, revision, kubectl)
    return False


def is_progressing(deployments: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether Kubernetes reports progress in a rollout that is not complete."""
    conditions = [each for one in deployments for each in one.get("status", {}).get("conditions", [])]
    return any(
        each["type"] == "Progressing" and each["status"] == "True" and each.get("reason") != "NewReplicaSetAvailable"
        for each in conditions
    )


def reasons(listed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why the pods of the newest revision are not ready, or why there is no pod; each reason once."""
    newest = max(_of_kind("ReplicaSet", listed), key=lambda each: _revision(each) or 0, default=None)
    if newest is None:
        return []
    pods = [
        pod
        for pod in _of_kind("Pod", listed)
        if newest["metadata"]["name"] in {owner["name"] for owner in pod["metadata"].get("ownerReferences", [])}
    ]
    refused = (
        f"no pod can be made: {condition['message']}"
        for condition in newest.get("status", {}).get("conditions", [])
        if condition["type"] == "ReplicaFailure"
    )
    return list(dict.fromkeys([*refused, *(reason for pod in pods for reason in _reasons_of(pod))]))


def _reasons_of(pod: Mapping[str, Any]) -> Iterator[str]:
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and "message" in condition:
            yield f"pod cannot be scheduled: {condition['message']}"
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state: Mapping[str, Any] = container.get("state", {})
        ended: Mapping[str, Any] = state.get("terminated") or container.get("lastState", {}).get("terminated", {})
        waiting: Mapping[str, Any] = state.get("waiting", {})
        if ended.get("exitCode"):
            why = ended.get("message", "").strip() or ended.get("reason", "it printed no reason")
            yield f"container {container['name']} ended with exit code {ended['exitCode']}: {why}"
        elif waiting and waiting.get("reason") not in STARTING:
            yield f"container {container['name']} waits: {waiting.get('message') or waiting.get('reason')}"
        elif "running" in state and not (container.get("ready") or container.get("started")):
            yield f"container {container['name']} runs and has not answered its startup probe"


def previous_revision(replica_sets: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the latest revision before the newest that has ready pods; None if there is none."""
    revisions = {
        number: each["status"].get("readyReplicas", 0)
        for each in replica_sets
        if (number := _revision(each)) is not None  # a new ReplicaSet has no revision yet
    }
    return max((number for number, ready in revisions.items() if ready and number < max(revisions)), default=None)


def _roll_back(deployment: str, revision: int, kubectl: Sequence[str]) -> None:
    try:
        _run([*kubectl, "rollout", "undo", f"deployment/{deployment}", f"--to-revision={revision}"])
    except (subprocess.SubprocessError, OSError) as error:
        pulumi.log.warn(
            f"{deployment}: the failed release could not be rolled back: {_error_text(error)}; the pods of the last "
            "release go on serving, and one pod of the failed release restarts until the next update"
        )
    else:
        pulumi.log.warn(
            f"{deployment}: the failed release was rolled back in the cluster, but the stack file still names it, so "
            "the next update would release it again; change it back in the stack file"
        )


def _of_kind(kind: str, listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in listed if each["kind"] == kind]


def _revision(replica_set: Mapping[str, Any]) -> int | None:
    number = replica_set["metadata"].get("annotations", {}).get(REVISION)
    return None if number is None else int(number)


@contextmanager
def _kubectl(namespace: str, context: str | None, kubeconfig: str | None) -> Generator[Sequence[str]]:
    """Yield the kubectl command with the options that select the stack's cluster and the namespace."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(kubeconfig or "")
        file.flush()
        cluster = ["--kubeconfig", file.name] if kubeconfig else ["--context", context] if context else []
        yield ["kubectl", *cluster, "--namespace", namespace]


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout


def _error_text(error: Exception) -> str:
    return str(error.stderr if isinstance(error, subprocess.CalledProcessError) else error).strip()
