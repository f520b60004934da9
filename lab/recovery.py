"""What a killed engine leaves behind, put right before the next one runs: its lock, and what it never confirmed."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.reach import Kube
from lab.stack import NAME, PROJECT, Stack

AUTO_NAMED = "pulumi.com/autonamed"


def recover(stack: Stack, kube: Kube, backend: Path) -> None:
    """No lock of a dead engine is left and no operation is pending; LabError while another engine holds the stack.

    What a killed engine had begun may have happened or not: the stack's record is read anew from the cluster. Creations
    are forgotten, and the next `up` asks for them again. An object with a fixed name is then taken as it is; one that
    the engine had named itself would come to be a second time under another name, so it is deleted.
    """
    cancel_dead_lock(stack, backend)
    operations = pending_operations(backend)
    for operation in operations:
        if operation["type"] == "creating":
            _delete_auto_named(kube, operation["resource"].get("inputs", {}))
    if operations:
        stack.pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates")


def engine_arguments(arguments: Sequence[str], stack: Stack, backend: Path) -> list[str]:
    """The arguments for an engine that a person starts, on a stack that another engine may have left in the middle."""
    another = {"--stack", "-s"} & set(arguments) and NAME not in arguments
    if another or arguments[:1] not in (["up"], ["destroy"]):
        return list(arguments)
    cancel_dead_lock(stack, backend)
    return [*arguments, "--refresh"] if pending_operations(backend) else list(arguments)


def pending_operations(backend: Path) -> list[dict[str, Any]]:
    """What an engine had begun and not confirmed when it was killed."""
    checkpoint = backend / ".pulumi" / "stacks" / PROJECT / f"{NAME}.json"
    if not checkpoint.exists():
        return []
    latest: dict[str, Any] | None = json.loads(checkpoint.read_text())["checkpoint"].get("latest")
    return (latest or {}).get("pending_operations") or []


def cancel_dead_lock(stack: Stack, backend: Path) -> None:
    """A lock whose process is gone is cancelled."""
    locks = [json.loads(file.read_text()) for file in (backend / ".pulumi" / "locks").glob(f"**/{NAME}/*.json")]
    alive = [lock["pid"] for lock in locks if lock["hostname"] == socket.gethostname() and _runs(lock["pid"])]
    if alive:
        raise LabError(f"pulumi (process {alive[0]}) is at work on stack {NAME}: wait until it ends, then try again.")
    if locks:
        stack.pulumi("cancel", "--yes")


def _delete_auto_named(kube: Kube, inputs: Mapping[str, Any]) -> None:
    metadata = inputs.get("metadata", {})
    if metadata.get("annotations", {}).get(AUTO_NAMED) != "true":
        return
    group = inputs["apiVersion"].rpartition("/")[0]
    kind = f"{inputs['kind']}.{group}" if group else inputs["kind"]
    where = ["--namespace", metadata["namespace"]] if "namespace" in metadata else []
    kube.kubectl("delete", kind, metadata["name"], *where, "--ignore-not-found", "--wait=false")


def _runs(process: int) -> bool:
    try:
        command = Path(f"/proc/{process}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.getpid() != process and command.startswith("pulumi")
