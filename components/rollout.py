"""What happens when Pulumi has waited in vain for a Deployment: the pods' reason is printed, and a release taken back.

The `kubernetes` plugin prints what a Deployment and its main containers say. An init container's message, such as the
versions that a registry has, is not among it.
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
"""Words of the `kubernetes` plugin for an object that did not become ready in time."""
ON_ITS_WAY = ("ContainerCreating", "PodInitializing")
"""Reasons of a waiting container that say nothing about a failure."""


def watch(access: ClusterAccess, take_back: Collection[str]) -> ResourceHookBinding | None:
    """Hooks for every Deployment of a stack; None in a preview, which waits for nothing.

    While Kubernetes still sees progress, Pulumi waits once more. Otherwise the reason that the pods give is printed. An
    update of a Deployment named in `take_back` is then rolled back in the cluster to the last revision that has ready
    pods. The update fails all the same, and the stack file still says what failed.

    Raises:
        pulumi.RunError: a release should be taken back and there is no kubectl.
    """
    for deployment in sorted(take_back):
        if not shutil.which("kubectl"):
            raise pulumi.RunError(
                f"mlops:endpoints.{deployment}.rollback_on_failure needs kubectl, and it is not on PATH: with it a "
                "failed release is taken back; install it, or leave the key out"
            )
    if pulumi.runtime.is_dry_run():
        return None
    kubeconfig = list[str]()  # of a cluster that this update makes, known when it has been made
    if access.kubeconfig is not None:
        pulumi.Output.from_input(access.kubeconfig).apply(kubeconfig.append)

    async def on_error(args: ErrorHookArgs) -> bool:
        unready = unready_deployment(args, take_back)
        return bool(unready) and await asyncio.to_thread(handle, unready, access.context, "".join(kubeconfig) or None)

    return ResourceHookBinding(on_error=[ErrorHook("rollout", on_error)])


@dataclass(frozen=True, kw_only=True)
class Unready:
    """Deployment that did not become ready in time.

    `has_deadline` is true where the program sets a progress deadline; that of Kubernetes itself is 10 minutes. With
    `take_back` it is rolled back in the cluster.
    """

    name: str
    namespace: str
    selector: Mapping[str, str]
    has_deadline: bool
    take_back: bool


def unready_deployment(args: ErrorHookArgs, take_back: Collection[str]) -> Unready | None:
    """Return the Deployment that did not become ready; None for any other failure, which left the cluster as it was."""
    if args.failed_operation == "delete" or TIMED_OUT not in args.errors[0]:
        return None
    declared: Mapping[str, Any] = args.new_inputs or {}
    return Unready(
        name=declared["metadata"]["name"],
        namespace=declared["metadata"]["namespace"],
        selector=declared["spec"]["selector"]["matchLabels"],
        has_deadline="progressDeadlineSeconds" in declared["spec"],
        take_back=args.failed_operation == "update" and args.name in take_back,
    )


def handle(unready: Unready, context: str | None, kubeconfig: str | None) -> bool:
    """Print why the Deployment is not ready and take it back if asked; return whether to wait for it once more."""
    name = unready.name
    with _kubectl(unready.namespace, context, kubeconfig) as kubectl:
        try:
            selector = names.matching(unready.selector)
            kinds = "deployments,replicasets,pods"
            listed = json.loads(_answer([*kubectl, "get", kinds, "--selector", selector, "--output", "json"]))["items"]
        except (subprocess.SubprocessError, OSError) as error:
            pulumi.log.warn(f"{name}: the reason of its pods could not be read with kubectl: {_said(error)}")
            return False
        if unready.has_deadline and goes_on(_of("Deployment", listed)):
            return True
        for reason in reasons(listed):
            pulumi.log.error(f"{name}: {reason}")
        if unready.take_back and (before := revision_before(_of("ReplicaSet", listed))) is not None:
            _take_back(name, before, kubectl)
    return False


def goes_on(deployments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether Kubernetes sees progress in a rollout that is not complete."""
    conditions = [each for one in deployments for each in one.get("status", {}).get("conditions", [])]
    return any(
        each["type"] == "Progressing" and each["status"] == "True" and each.get("reason") != "NewReplicaSetAvailable"
        for each in conditions
    )


def reasons(listed: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the pods of the newest revision say of themselves, each thing once; or why there is no pod."""
    newest = max(_of("ReplicaSet", listed), key=lambda each: _revision(each) or 0, default=None)
    if newest is None:
        return []
    pods = [
        pod
        for pod in _of("Pod", listed)
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
            said = ended.get("message", "").strip() or ended.get("reason", "it said nothing")
            yield f"container {container['name']} ended with exit code {ended['exitCode']}: {said}"
        elif waiting and waiting.get("reason") not in ON_ITS_WAY:
            yield f"container {container['name']} waits: {waiting.get('message') or waiting.get('reason')}"
        elif "running" in state and not (container.get("ready") or container.get("started")):
            yield f"container {container['name']} runs and has not answered its startup probe"


def revision_before(replica_sets: Sequence[Mapping[str, Any]]) -> int | None:
    """The latest revision, except the newest, that has ready pods; None if there is none."""
    revisions = {
        number: each["status"].get("readyReplicas", 0)
        for each in replica_sets
        if (number := _revision(each)) is not None  # one just made has none yet
    }
    return max((number for number, ready in revisions.items() if ready and number < max(revisions)), default=None)


def _take_back(deployment: str, revision: int, kubectl: Sequence[str]) -> None:
    try:
        _answer([*kubectl, "rollout", "undo", f"deployment/{deployment}", f"--to-revision={revision}"])
    except (subprocess.SubprocessError, OSError) as error:
        pulumi.log.warn(
            f"{deployment}: the release that failed could not be taken back: {_said(error)}; the pods before it "
            "serve, and one of its own goes on trying until the next update"
        )
    else:
        pulumi.log.warn(
            f"{deployment}: the release that failed was taken back in the cluster, and not in the stack file: put it "
            "back there, or the next update tries again"
        )


def _of(kind: str, listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in listed if each["kind"] == kind]


def _revision(replica_set: Mapping[str, Any]) -> int | None:
    number = replica_set["metadata"].get("annotations", {}).get(REVISION)
    return None if number is None else int(number)


@contextmanager
def _kubectl(namespace: str, context: str | None, kubeconfig: str | None) -> Generator[Sequence[str]]:
    """Command for kubectl in the stack's own cluster, whatever the current context is."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(kubeconfig or "")
        file.flush()
        cluster = ["--kubeconfig", file.name] if kubeconfig else ["--context", context] if context else []
        yield ["kubectl", *cluster, "--namespace", namespace]


def _answer(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout


def _said(error: Exception) -> str:
    return str(error.stderr if isinstance(error, subprocess.CalledProcessError) else error).strip()
