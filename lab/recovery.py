"""What a killed engine leaves behind: its lock, and operations that it began and never confirmed."""

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import paths
from lab.errors import LabError
from lab.files import write

PROJECT, STACK = "mlops", "local"
AUTO_NAMED = "pulumi.com/autonamed"
INPUTS = "__inputs"


def recover(refresh: Callable[[], object], kubectl: Callable[..., object]) -> None:
    """No lock of a dead engine is left and no operation is pending; LabError while another engine holds the stack.

    The cluster may or may not have done what a killed engine had begun, so the stack's record is read from the cluster
    again. Creations are forgotten, and the next `up` asks for them again: it takes over an object with a fixed name.
    One that the engine had named itself would be created a second time under another name, so it is deleted.
    """
    remove_dead_lock()
    complete_record()
    operations = pending_operations()
    for operation in operations:
        if operation["type"] == "creating":
            _delete_auto_named(kubectl, operation["resource"].get("inputs", {}))
    if operations:
        refresh()


def engine_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments for an engine that a person starts, on a stack that another engine may have left in the middle."""
    another = {"--stack", "-s"} & set(arguments) and STACK not in arguments
    if another or arguments[:1] not in (["up"], ["destroy"], ["preview"], ["refresh"]):
        return list(arguments)
    if not working_engine():
        complete_record()
    if arguments[0] in ("preview", "refresh"):
        return list(arguments)
    remove_dead_lock()
    return [*arguments, "--refresh"] if pending_operations() else list(arguments)


def checkpoint() -> dict[str, Any]:
    """What the engine has on record of the stack; empty when the lab has no such stack, or never deployed it."""
    return (json.loads(_record().read_text())["checkpoint"].get("latest") if _record().exists() else None) or {}


def complete_record() -> None:
    """Give the record of each Kubernetes object the inputs that the official plugin compares with.

    The plugin of former releases kept no `__inputs` beside the outputs. Without them every object seems to have been
    declared empty, and the official plugin would replace it, volumes and databases included.
    """
    record: dict[str, Any] = json.loads(_record().read_text()) if _record().exists() else {}
    latest: dict[str, Any] | None = record.get("checkpoint", {}).get("latest")
    resources: list[dict[str, Any]] = latest.get("resources", []) if latest else []
    incomplete = [
        each
        for each in resources
        if each["type"].startswith("kubernetes:") and each.get("outputs") and INPUTS not in each["outputs"]
    ]
    for each in incomplete:
        each["outputs"][INPUTS] = each["inputs"]
    if incomplete:
        write(_record(), json.dumps(record))


def _record() -> Path:
    return paths.pulumi_backend() / ".pulumi" / "stacks" / PROJECT / f"{STACK}.json"


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
