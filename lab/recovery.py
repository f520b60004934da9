"""What a killed engine leaves behind: its lock, and operations that it began and never confirmed."""

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import paths
from lab.errors import LabError

PROJECT, STACK = "mlops", "local"
AUTO_NAMED = "pulumi.com/autonamed"


def recover(refresh: Callable[[], object], kubectl: Callable[..., object]) -> None:
    """No lock of a dead engine is left and no operation is pending; LabError while another engine holds the stack.

    The cluster may or may not have done what a killed engine had begun, so the stack's record is read from the cluster
    again. Creations are forgotten, and the next `up` asks for them again: it takes over an object with a fixed name.
    One that the engine had named itself would be created a second time under another name, so it is deleted.
    """
    remove_dead_lock()
    operations = pending_operations()
    for operation in operations:
        if operation["type"] == "creating":
            _delete_auto_named(kubectl, operation["resource"].get("inputs", {}))
    if operations:
        refresh()


def engine_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments for an engine that a person starts, on a stack that another engine may have left in the middle."""
    another = {"--stack", "-s"} & set(arguments) and STACK not in arguments
    if another or arguments[:1] not in (["up"], ["destroy"]):
        return list(arguments)
    remove_dead_lock()
    return [*arguments, "--refresh"] if pending_operations() else list(arguments)


def checkpoint() -> dict[str, Any]:
    """What the engine has on record of the stack; empty when the lab has no such stack, or never deployed it."""
    file = paths.pulumi_backend() / ".pulumi" / "stacks" / PROJECT / f"{STACK}.json"
    return (json.loads(file.read_text())["checkpoint"].get("latest") if file.exists() else None) or {}


def pending_operations() -> list[dict[str, Any]]:
    """Operations that an engine had begun and not confirmed when it was killed."""
    return checkpoint().get("pending_operations") or []


def working_engine() -> int | None:
    """The process of the engine that works on the stack now."""
    locks = [json.loads(file.read_text()) for file in _locks()]
    ours = (lock["pid"] for lock in locks if lock["hostname"] == socket.gethostname())
    return next(filter(_runs, ours), None)


def remove_dead_lock() -> None:
    """The stack is not locked; LabError while an engine works on it."""
    if engine := working_engine():
        raise LabError(f"pulumi (process {engine}) is at work on stack {STACK}: wait until it ends, then try again.")
    for file in _locks():
        file.unlink(missing_ok=True)


def _locks() -> list[Path]:
    return list((paths.pulumi_backend() / ".pulumi" / "locks").glob(f"**/{STACK}/*.json"))


def _delete_auto_named(kubectl: Callable[..., object], inputs: Mapping[str, Any]) -> None:
    metadata = inputs.get("metadata", {})
    if metadata.get("annotations", {}).get(AUTO_NAMED) != "true":
        return
    group = inputs["apiVersion"].rpartition("/")[0]
    kind = f"{inputs['kind']}.{group}" if group else inputs["kind"]
    where = ["--namespace", metadata["namespace"]] if "namespace" in metadata else []
    kubectl("delete", kind, metadata["name"], *where, "--ignore-not-found", "--wait=false")


def _runs(process: int) -> bool:
    try:
        command = Path(f"/proc/{process}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.getpid() != process and command.startswith("pulumi")
