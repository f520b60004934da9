"""What a killed engine leaves behind, put right before the next one runs: its lock, creations it never confirmed."""

import json
import os
import socket
from pathlib import Path

from lab.errors import LabError
from lab.reach import Kube
from lab.stack import NAME, Stack

AUTO_NAMED = "pulumi.com/autonamed"


def recover(stack: Stack, kube: Kube, backend: Path) -> None:
    """No lock of a dead engine is left and no creation is pending; LabError while another engine holds the stack."""
    cancel_dead_lock(stack, backend)
    clear_creations(stack, kube)


def cancel_dead_lock(stack: Stack, backend: Path) -> None:
    """A lock whose process is gone is cancelled."""
    locks = [json.loads(file.read_text()) for file in (backend / ".pulumi" / "locks").glob(f"**/{NAME}/*.json")]
    alive = [lock["pid"] for lock in locks if lock["hostname"] == socket.gethostname() and _runs(lock["pid"])]
    if alive:
        raise LabError(f"pulumi (process {alive[0]}) is at work on stack {NAME}: wait until it ends, then try again.")
    if locks:
        stack.pulumi("cancel", "--yes")


def clear_creations(stack: Stack, kube: Kube) -> None:
    """Creations that a killed engine left unconfirmed are forgotten; the next `up` asks for them again.

    An object with a fixed name is then taken as it is. One that the engine had named itself would come to be a second
    time under another name: it is deleted.
    """
    operations = (stack.deployment() or {}).get("pending_operations", [])
    creations = [operation["resource"].get("inputs", {}) for operation in operations if operation["type"] == "creating"]
    if not creations:
        return
    for inputs in creations:
        metadata = inputs.get("metadata", {})
        if metadata.get("annotations", {}).get(AUTO_NAMED) == "true":
            group = inputs["apiVersion"].rpartition("/")[0]
            kind = f"{inputs['kind']}.{group}" if group else inputs["kind"]
            where = ["--namespace", metadata["namespace"]] if "namespace" in metadata else []
            kube.kubectl("delete", kind, metadata["name"], *where, "--ignore-not-found", "--wait=false")
    stack.pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates")


def _runs(process: int) -> bool:
    try:
        command = Path(f"/proc/{process}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.getpid() != process and command.startswith("pulumi")
