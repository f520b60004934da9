"""Hooks for the rollout of a Deployment: confirm that it is complete; if it failed, print why and roll it back.

The `kubernetes` plugin prints the messages of a Deployment and of its main containers, but not those of init
containers, such as the list of versions in the registry. It also reports an update as ready too early if the autoscaler
changes the number of pods before Kubernetes has begun the rollout: it then reads the status of the former pods.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pulumi
from pulumi import ErrorHook, ErrorHookArgs, ResourceHook, ResourceHookArgs, ResourceHookBinding

from components import timeouts
from components.foundation import ClusterAccess
from contract import names

REVISION = "deployment.kubernetes.io/revision"
SECONDS = 30
"""Timeout in seconds for one kubectl call."""
TRIES = 3
"""Number of kubectl calls in a row that may fail while a rollout is confirmed."""
DEADLINE_SECONDS = 600
"""Progress deadline in seconds of a Deployment that declares none; the default of Kubernetes."""
TIMED_OUT = "timed out waiting to be Ready"
"""Part of the `kubernetes` plugin's message for an object that did not become ready in time."""
COMPLETE = "NewReplicaSetAvailable"
"""Reason of the condition Progressing when a rollout is complete."""
STARTING = ("ContainerCreating", "PodInitializing")
"""Reasons of a waiting container that are part of every start, not a failure."""


_Result = TypeVar("_Result")
_threads = ThreadPoolExecutor(64, thread_name_prefix="rollout")


async def _in_thread(call: Callable[[], _Result]) -> _Result:
    """Run a call in a thread of its own.

    `asyncio.to_thread` takes a thread of Pulumi, which has them all in calls that wait for the engine, and the engine
    waits for the hook.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, contextvars.copy_context().run, call)


def watch(access: ClusterAccess, roll_back: Collection[str]) -> ResourceHookBinding | None:
    """Return hooks for the Deployments of MLflow and of endpoints; None in a preview, which waits for nothing.

    After an update, a hook waits until Kubernetes reports that the rollout is complete, if kubectl is on PATH. Ctrl-C
    does not end this wait.

    If the `kubernetes` plugin has waited too long, and Kubernetes still reports progress, Pulumi waits once more.

    A rollout that failed is an error. The hook logs the reason of the pods. If the Deployment is named in `roll_back`,
    the hook rolls it back in the cluster to the last revision that has ready pods. The update still fails, and the
    stack file still names the release that failed.

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

    async def after_update(args: ResourceHookArgs) -> None:
        rollout = declared(args.name, args.new_inputs or {}, roll_back)
        await _in_thread(lambda: confirm(rollout, access.context, "".join(kubeconfig) or None))

    async def on_error(args: ErrorHookArgs) -> bool:
        rollout = unready_deployment(args, roll_back)
        if rollout is None:
            return False
        return await _in_thread(lambda: handle(rollout, access.context, "".join(kubeconfig) or None))

    return ResourceHookBinding(
        after_update=[ResourceHook("rollout-complete", after_update)] if shutil.which("kubectl") else [],
        on_error=[ErrorHook("rollout", on_error)],
    )


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Rollout of a Deployment, as the program declares it."""

    name: str
    """Name of the Deployment in the cluster."""
    namespace: str
    """Namespace of the Deployment."""
    selector: Mapping[str, str]
    """Labels that select the Deployment's pods."""
    deadline_seconds: int | None
    """Progress deadline, if the program sets one; the default of Kubernetes is 10 minutes."""
    roll_back: bool
    """True if a failed Deployment is rolled back in the cluster, to its last revision with ready pods."""


class RolloutError(Exception):
    """A rollout that the `kubernetes` plugin reported as ready did not complete."""


def declared(resource: str, inputs: Mapping[str, Any], roll_back: Collection[str]) -> Rollout:
    """Return the rollout of a Deployment with these inputs. `resource` is its name in the program."""
    return Rollout(
        name=inputs["metadata"]["name"],
        namespace=inputs["metadata"]["namespace"],
        selector=inputs["spec"]["selector"]["matchLabels"],
        # The engine gives hooks each number as a float.
        deadline_seconds=int(inputs["spec"].get("progressDeadlineSeconds", 0)) or None,
        roll_back=resource in roll_back,
    )


def unready_deployment(args: ErrorHookArgs, roll_back: Collection[str]) -> Rollout | None:
    """Return the Deployment that did not become ready; None for any other failure, which did not change the cluster."""
    if args.failed_operation == "delete" or TIMED_OUT not in args.errors[0]:
        return None
    return declared(args.name, args.new_inputs or {}, roll_back if args.failed_operation == "update" else ())


def handle(rollout: Rollout, context: str | None, kubeconfig: str | None) -> bool:
    """Log why the Deployment is not ready and roll it back if requested; return whether to wait for it once more."""
    with _kubectl(rollout.namespace, context, kubeconfig) as kubectl:
        listed = _listed(rollout, kubectl)
        if rollout.deadline_seconds and any(map(is_progressing, _of_kind("Deployment", listed))):
            return True
        _end(rollout, listed, kubectl)
    return False


def confirm(rollout: Rollout, context: str | None, kubeconfig: str | None, every_seconds: float = 1) -> None:
    """Wait until Kubernetes reports that the rollout is complete.

    Raises:
        RolloutError: Kubernetes reports that the rollout failed, or reports no progress within the progress deadline,
            or the Deployment is paused. The reason of the pods was logged, and the Deployment was rolled back if
            requested.
    """
    seconds = (rollout.deadline_seconds or DEADLINE_SECONDS) + timeouts.MARGIN_SECONDS
    end, failed = time.monotonic() + seconds, 0
    with _kubectl(rollout.namespace, context, kubeconfig) as kubectl:
        while True:
            try:
                found = json.loads(_run([*kubectl, "get", "deployment", rollout.name, "--output", "json"]))
            except (subprocess.SubprocessError, OSError) as error:
                failed += 1
                if failed == TRIES:
                    pulumi.log.warn(f"{rollout.name}: kubectl could not confirm the rollout: {_text(error)}")
                    return
            else:
                failed = 0
                if is_complete(found):
                    return
                if is_progressing(found):
                    end = time.monotonic() + seconds
                elif why := _failure(found, is_late=time.monotonic() > end):
                    _end(rollout, _listed(rollout, kubectl), kubectl)
                    raise RolloutError(
                        f"{rollout.name}: {why}, but the state of the stack has the update; correct the stack file, or "
                        "run `pulumi up --refresh` to try it again"
                    )
            time.sleep(every_seconds)


def is_complete(deployment: Mapping[str, Any]) -> bool:
    """Return whether the pods of the Deployment's present template are ready.

    A new template has no updated pod until Kubernetes begins its rollout; the conditions are still the former ones.
    """
    status: Mapping[str, Any] = deployment.get("status") or {}
    spec: Mapping[str, Any] = deployment.get("spec") or {}
    return (
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and (status.get("updatedReplicas", 0) > 0 or spec.get("replicas") == 0)
        and any(each["status"] == "True" and each.get("reason") == COMPLETE for each in _progress(deployment))
    )


def _failure(deployment: Mapping[str, Any], *, is_late: bool) -> str:
    """Return why a rollout that is not complete failed; empty if it may go on."""
    if deployment["spec"].get("paused"):
        return "the Deployment is paused (`kubectl rollout resume` ends that)"
    if is_late or any(each["status"] == "False" for each in _progress(deployment)):
        return "the rollout was not complete within its progress deadline"
    return ""


def is_progressing(deployment: Mapping[str, Any]) -> bool:
    """Return whether Kubernetes reports progress in a rollout that is not complete."""
    return any(each["status"] == "True" and each.get("reason") != COMPLETE for each in _progress(deployment))


def _progress(deployment: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    status: Mapping[str, Any] = deployment.get("status") or {}
    return [each for each in status.get("conditions") or () if each["type"] == "Progressing"]


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


def _listed(rollout: Rollout, kubectl: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Return Deployment, ReplicaSets and pods; log a warning and return nothing if kubectl fails."""
    selector = names.matching(rollout.selector)
    try:
        found = _run([*kubectl, "get", "deployments,replicasets,pods", "--selector", selector, "--output", "json"])
    except (subprocess.SubprocessError, OSError) as error:
        pulumi.log.warn(f"{rollout.name}: the reason of its pods could not be read with kubectl: {_text(error)}")
        return []
    return json.loads(found)["items"]


def _end(rollout: Rollout, listed: Sequence[Mapping[str, Any]], kubectl: Sequence[str]) -> None:
    """Log why the pods are not ready, and roll the Deployment back if requested."""
    for reason in reasons(listed):
        pulumi.log.error(f"{rollout.name}: {reason}")
    if rollout.roll_back and (revision := previous_revision(_of_kind("ReplicaSet", listed))) is not None:
        _roll_back(rollout.name, revision, kubectl)


def _roll_back(deployment: str, revision: int, kubectl: Sequence[str]) -> None:
    try:
        _run([*kubectl, "rollout", "undo", f"deployment/{deployment}", f"--to-revision={revision}"])
    except (subprocess.SubprocessError, OSError) as error:
        pulumi.log.warn(
            f"{deployment}: the failed release could not be rolled back: {_text(error)}; the pods of the last "
            "release go on serving, and one pod of the failed release restarts until the next update"
        )
    else:
        pulumi.log.warn(
            f"{deployment}: the failed release was rolled back in the cluster, but the stack file still names it; "
            "change it back in the stack file, or a later update releases it again"
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


def _text(error: Exception) -> str:
    return str(error.stderr if isinstance(error, subprocess.CalledProcessError) else error).strip()
