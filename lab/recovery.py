"""Recovery after a killed engine: its lock, and operations that it began and did not record as finished."""

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
    """Remove the lock and the pending operations of a killed engine. LabError while another engine uses the stack.

    The cluster may have finished a pending operation or not, so the stack's record is refreshed from the cluster.
    Pending creations are dropped, and the next `up` repeats them: it takes over an object with a fixed name. An object
    with a generated name would be created twice, so it is deleted here.
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
    """Return the arguments for an engine that a person starts, with `--refresh` if a killed engine left operations."""
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
    """Return the engine's record of the stack; empty if the stack does not exist or was never deployed."""
    return (json.loads(_record().read_text())["checkpoint"].get("latest") if _record().exists() else None) or {}


def complete_record() -> None:
    """Add the inputs to the record of each Kubernetes object, for the official plugin.

    The plugin of earlier releases stored no `__inputs` in the outputs. Without them, the official plugin would replace
    every object, volumes and databases included.
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
    """Return the operations that a killed engine had begun and not finished."""
    return checkpoint().get("pending_operations") or []


def working_engine() -> int | None:
    """Return the pid of the engine that uses the stack now, or None."""
    locks = [json.loads(file.read_text()) for file in _locks()]
    ours = (lock["pid"] for lock in locks if lock["hostname"] == socket.gethostname())
    return next(filter(_is_running, ours), None)


def remove_dead_lock() -> None:
    """Remove the locks of killed engines. LabError while an engine uses the stack."""
    if engine := working_engine():
        raise LabError(f"pulumi (process {engine}) is using stack {STACK}: wait until it ends, then try again.")
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


def _is_running(process: int) -> bool:
    try:
        command = Path(f"/proc/{process}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.getpid() != process and command.startswith("pulumi")
