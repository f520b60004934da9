"""Lock for the promotions of one model, in tags of the registered model. MLflow's registry has no lock of its own.

The registry guarantees that one call is atomic and a call sees what earlier calls wrote. A promotion writes a claim
under its own tag and then reads all claims: if two processes claim the lock at once, at least one sees the other
claim and withdraws. The claim holds all steps of the promotion before the first step is made, so that another process
can finish the promotion of a dead process. One tag with a fixed key is not enough: a second writer would overwrite the
first one's value, and the first would not notice.
"""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from contract.stages import Step
from training.registry.client import Client

PREFIX = "promotion."
HOLD = timedelta(seconds=30)
"""Longest duration of a promotion, by the clock of its own process. After it, the promotion starts no further call."""
ABANDONED = timedelta(seconds=90)
"""Age of a claim from which other machines may finish it; exceeds HOLD, because calls take time and clocks differ."""
PATIENCE = timedelta(seconds=5)
"""Seconds to wait until another claim made at the same moment is withdrawn or starts its steps."""


class BusyError(Exception):
    """The lock of a promotion or validation is taken; the message names the holder and says what to do."""


class Holder(BaseModel):
    """Process that holds or waits for the lock."""

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int

    @property
    def is_dead(self) -> bool:
        """True if the process has ended; False if it runs, or if it is on another machine."""
        if self.host != os.uname().nodename:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def this_process() -> Holder:
    """Return the holder that stands for this process."""
    return Holder(host=os.uname().nodename, pid=os.getpid())


class Claim(BaseModel):
    """Claim on the lock, with the steps of its promotion. A claim without steps has changed nothing in the registry."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(default_factory=lambda: uuid.uuid4().hex[:12], exclude=True)
    asked: str
    """The request as text; equal texts are the same request."""
    by: str
    """Person who made the request."""
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    """Time when the claim was made."""
    holder: Holder = Field(default_factory=this_process)
    steps: tuple[Step, ...] = ()

    @property
    def key(self) -> str:
        """Key of the tag of the registered model that holds this claim."""
        return PREFIX + self.name

    @property
    def is_abandoned(self) -> bool:
        """True if another process may finish this claim: its process is dead, or it is older than ABANDONED."""
        return self.holder.is_dead or datetime.now(UTC) - self.at > ABANDONED

    def __str__(self) -> str:
        age = (datetime.now(UTC) - self.at).total_seconds()
        return f"{self.by} began {age:.0f} s ago, on {self.holder.host}, to move {self.asked}"


class Deadline:
    """End of a period, measured with the monotonic clock."""

    def __init__(self, length: timedelta) -> None:
        self._end = time.monotonic() + length.total_seconds()

    @property
    def is_over(self) -> bool:
        """True if the period has ended."""
        return time.monotonic() >= self._end


def standing(client: Client, model: str) -> list[Claim]:
    """Return all claims on the lock of the model, oldest first."""
    tags = client.get_registered_model(model).tags
    claims = [_parse(key, value) for key, value in tags.items() if key.startswith(PREFIX)]
    return sorted((claim for claim in claims if claim), key=lambda claim: (claim.at, claim.name))


def acquire(client: Client, model: str, claim: Claim) -> list[Claim]:
    """Acquire the lock and return the abandoned claims, which the caller must finish.

    No other promotion of the model begins until the claim is dropped.

    Raises:
        BusyError: another promotion holds the lock; the claim is dropped.
    """
    write(client, model, claim)
    patience = Deadline(PATIENCE)
    while True:
        others = [other for other in standing(client, model) if other.name != claim.name]
        living = [other for other in others if not other.is_abandoned]
        if not living:
            return others
        # If no claim has steps yet, the one with the smallest name waits until the others withdraw.
        first = next((other for other in living if other.steps or other.name < claim.name), None)
        if first or patience.is_over:
            drop(client, model, claim)
            raise BusyError(_message(first or living[0]))
        time.sleep(0.05)


def write(client: Client, model: str, claim: Claim) -> None:
    """Write the claim to the registry, replacing an earlier state of it."""
    client.set_registered_model_tag(model, claim.key, claim.model_dump_json())


def drop(client: Client, model: str, claim: Claim) -> None:
    """Delete the claim from the registry."""
    client.delete_registered_model_tag(model, claim.key)


def _parse(key: str, value: str) -> Claim | None:
    try:
        return Claim.model_validate_json(value).model_copy(update={"name": key.removeprefix(PREFIX)})
    except ValidationError:
        return None  # this tag was written by hand


def _message(other: Claim) -> str:
    return (
        f"another promotion is running: {other}; try again when it is done (if its process has died, "
        f"the next promotion after {(other.at + ABANDONED):%H:%M:%S} UTC finishes it)"
    )
