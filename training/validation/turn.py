"""Whose answer counts when two validate one version, and when a validation that died may be done by others.

A validation writes its turn as a tag of the version. Who comes later takes the turn over, and who finds that it has
lost its own says so and writes no answer: of two, the one that began last speaks. The schedule takes no turn from
anybody before its time is over.
"""

import os
import uuid
from datetime import UTC, datetime, timedelta

from mlflow.entities.model_registry import ModelVersion
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from contract.tags import VALIDATION_STATUS
from training.registry.claim import BusyError
from training.registry.client import Client
from training.registry.stages import RUNNING

TAG = "validation_turn"


class Turn(BaseModel):
    """A validation that goes on, `until` it is given up by whoever started it."""

    model_config = ConfigDict(frozen=True)

    by: str
    until: AwareDatetime


def of_this_process(seconds: float) -> Turn:
    """A turn that begins now."""
    name = f"{os.uname().nodename}, {uuid.uuid4().hex[:8]}"
    return Turn(by=name, until=datetime.now(UTC) + timedelta(seconds=seconds))


def take(client: Client, version: ModelVersion, mine: Turn) -> None:
    """The version is being validated by this process, whoever did so before.

    Raises:
        BusyError: another one took the turn at the same moment.
    """
    client.set_model_version_tag(version.name, str(version.version), TAG, mine.model_dump_json())
    client.set_model_version_tag(version.name, str(version.version), VALIDATION_STATUS, RUNNING)
    check(client, version, mine)


def check(client: Client, version: ModelVersion, mine: Turn) -> None:
    """Returns if the turn is still this process's.

    Raises:
        BusyError: another one has it, or had it and is done.
    """
    other = _of(client.get_model_version(version.name, str(version.version)))
    if other != mine:
        who = other.by if other else "another process"
        raise BusyError(
            f"{version.name} version {version.version} is being validated by {who}, which began later: its answer "
            "counts; wait for it, or run this again after it"
        )


def end(client: Client, version: ModelVersion, status: str | None) -> None:
    """The version has the status, or none, and nobody's turn."""
    if status:
        client.set_model_version_tag(version.name, str(version.version), VALIDATION_STATUS, status)
    else:
        client.delete_model_version_tag(version.name, str(version.version), VALIDATION_STATUS)
    client.delete_model_version_tag(version.name, str(version.version), TAG)


def is_free(version: ModelVersion) -> bool:
    """Nobody looked at it, or who did died over it."""
    status = version.tags.get(VALIDATION_STATUS)
    if status != RUNNING:
        return status is None
    held = _of(version)
    return held is None or held.until < datetime.now(UTC)


def _of(version: ModelVersion) -> Turn | None:
    try:
        return Turn.model_validate_json(version.tags.get(TAG, ""))
    except ValidationError:
        return None
