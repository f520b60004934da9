"""Takes a release that failed back in the cluster, where only the program that declared it knows of the failure."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi import ErrorHook, ErrorHookArgs, ResourceHookBinding

from components import names
from components.foundation import ClusterAccess

REVISION = "deployment.kubernetes.io/revision"
SECONDS = 30
"""That one question to the cluster may take."""


def rollback(deployment: str, access: ClusterAccess) -> ResourceHookBinding:
    """Of a Deployment in ml-serving: when an update of it fails, it has the template again whose pods answer.

    The update fails all the same, and the stack file still says what failed.

    Raises:
        pulumi.RunError: there is no kubectl.
    """
    if not shutil.which("kubectl"):
        raise pulumi.RunError(
            f"mlops:endpoints.{deployment}.rollback_on_failure needs kubectl, and it is not on PATH: with it a failed "
            "release is taken back; install it, or leave the key out"
        )
    kubeconfig = list[str]()  # of a cluster that this update makes, known when it has been made
    if access.kubeconfig is not None:
        pulumi.Output.from_input(access.kubeconfig).apply(kubeconfig.append)

    async def on_error(args: ErrorHookArgs) -> bool:
        if args.failed_operation == "update":
            await asyncio.to_thread(take_back, deployment, access.context, "".join(kubeconfig) or None)
        return False

    return ResourceHookBinding(on_error=[ErrorHook(f"{deployment}-rollback", on_error)])


def take_back(deployment: str, context: str | None, kubeconfig: str | None) -> None:
    """The Deployment has the template of its last good revision, or a warning says why not."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(kubeconfig or "")
        file.flush()
        way = ["--kubeconfig", file.name] if kubeconfig else ["--context", context] if context else []
        command = ["kubectl", *way, "--namespace", names.SERVING]
        try:
            selector = names.matching(names.selector("model-endpoint", deployment))
            listed = json.loads(_answer([*command, "get", "replicasets", "--selector", selector, "--output", "json"]))
            before = revision_before(listed["items"])
            if before is None:
                return
            _answer([*command, "rollout", "undo", f"deployment/{deployment}", f"--to-revision={before}"])
        except (subprocess.SubprocessError, OSError) as error:
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
            pulumi.log.warn(
                f"{deployment}: the release that failed could not be taken back: {str(said).strip()}; the pods before "
                "it serve, and one of its own goes on trying until the next update"
            )
        else:
            pulumi.log.warn(
                f"{deployment}: the release that failed was taken back in the cluster, and not in the stack file: put "
                "it back there, or the next update tries again"
            )


def revision_before(replica_sets: Sequence[Mapping[str, Any]]) -> int | None:
    """The latest revision but the newest one that has pods which answer; None where there is none."""
    revisions = {
        int(number): each["status"].get("readyReplicas", 0)
        for each in replica_sets
        if (number := each["metadata"].get("annotations", {}).get(REVISION))  # one just made has none yet
    }
    return max((number for number, ready in revisions.items() if ready and number < max(revisions)), default=None)


def _answer(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
