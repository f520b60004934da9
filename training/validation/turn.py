"""Lock for the validation of one version, in a tag of the version.

A validation that starts later takes the lock over. A validation that has lost the lock exits with a message and writes
no result. So if two validations of a version run at once, the one that started last decides. The schedule takes over
only a lock that has expired.
"""

import os
import uuid
from datetime import UTC, datetime, timedelta

from mlflow.entities.model_registry import ModelVersion
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from contract.stages import RUNNING
from contract.tags import VALIDATION_STATUS
from training.registry.claim import BusyError
from training.registry.client import Client

TAG = "validation_turn"


class Lock(BaseModel):
    """Lock of a running validation."""

    model_config = ConfigDict(frozen=True)

    by: str
    """Host and random ID of the process that holds the lock."""
    until: AwareDatetime
    """Time when the lock expires."""


def of_this_process(seconds: float) -> Lock:
    """Return a new lock of this process that expires after that many seconds."""
    name = f"{os.uname().nodename}, {uuid.uuid4().hex[:8]}"
    return Lock(by=name, until=datetime.now(UTC) + timedelta(seconds=seconds))


def acquire(client: Client, version: ModelVersion, mine: Lock) -> None:
    """Acquire the lock of the version, even if another process holds it, and set the status `running`.

    Raises:
        BusyError: another process acquired the lock at the same moment.
    """
    client.set_model_version_tag(version.name, str(version.version), TAG, mine.model_dump_json())
    client.set_model_version_tag(version.name, str(version.version), VALIDATION_STATUS, RUNNING)
    check(client, version, mine)


def check(client: Client, version: ModelVersion, mine: Lock) -> None:
    """Check that this process still holds the lock.

    Raises:
        BusyError: another process holds the lock, or held it and has finished.
    """
    other = _read(client.get_model_version(version.name, str(version.version)))
    if other != mine:
        who = other.by if other else "another process"
        raise BusyError(
            f"{version.name} version {version.version} is being validated by {who}, which started later, so its result "
            "counts; wait for it, then validate again if you need to"
        )


def release(client: Client, version: ModelVersion, status: str | None) -> None:
    """Release the lock and set the status of the version; None removes the status."""
    if status:
        client.set_model_version_tag(version.name, str(version.version), VALIDATION_STATUS, status)
    else:
        client.delete_model_version_tag(version.name, str(version.version), VALIDATION_STATUS)
    client.delete_model_version_tag(version.name, str(version.version), TAG)


def is_free(version: ModelVersion) -> bool:
    """Return True if the version was not validated, or if its validation has died."""
    status = version.tags.get(VALIDATION_STATUS)
    if status != RUNNING:
        return status is None
    held = _read(version)
    return held is None or held.until < datetime.now(UTC)


def _read(version: ModelVersion) -> Lock | None:
    try:
        return Lock.model_validate_json(version.tags.get(TAG, ""))
    except ValidationError:
        return None
