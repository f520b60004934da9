"""One promotion of a model at a time, though MLflow's registry has no lock; and none is left half done.

What the registry guarantees is that one call is atomic and that a call sees what earlier ones wrote. So a promotion
writes a claim under a tag of its own and then looks for others: of two that claim at once, at least one sees the other
and steps back. Before its first step it writes all of them into the claim, so that whoever finds the claim of a dead
process can finish what it began. A tag with one fixed key would not do: the last to write it wins, unseen by the first.
"""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from training.registry.client import Client
from training.registry.stages import Step

PREFIX = "promotion."
HOLD = timedelta(seconds=30)
"""How long a promotion may take, by its own clock; it starts no call after that."""
ABANDONED = timedelta(seconds=90)
"""When others may finish a claim of another machine: more than HOLD, for calls take time and clocks differ."""
COURTESY = timedelta(seconds=5)
"""How long to wait for another claim of the same moment to step back or to start."""


class BusyError(Exception):
    """Another process promotes the model, or validates the version; the message says whose, and the way out."""


class Holder(BaseModel):
    """A process that promotes."""

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int

    @property
    def is_dead(self) -> bool:
        """It is known to have ended. False where that cannot be known: on another machine."""
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
    """The holder that this process is."""
    return Holder(host=os.uname().nodename, pid=os.getpid())


class Claim(BaseModel):
    """A promotion that began. Without steps, nothing of it is done."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(default_factory=lambda: uuid.uuid4().hex[:12], exclude=True)
    asked: str
    """What was asked for, in words: the same words are the same request."""
    by: str
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    holder: Holder = Field(default_factory=this_process)
    steps: tuple[Step, ...] = ()

    @property
    def key(self) -> str:
        """The tag of the registered model that holds it."""
        return PREFIX + self.name

    @property
    def is_abandoned(self) -> bool:
        """Nobody works on it any more, so that whoever finds it may finish it."""
        return self.holder.is_dead or datetime.now(UTC) - self.at > ABANDONED

    def __str__(self) -> str:
        age = (datetime.now(UTC) - self.at).total_seconds()
        return f"{self.by} began {age:.0f} s ago, on {self.holder.host}, to bring {self.asked}"


class Deadline:
    """The time that a claim may still be used, by a clock that nobody sets."""

    def __init__(self, length: timedelta) -> None:
        self._end = time.monotonic() + length.total_seconds()

    @property
    def is_over(self) -> bool:
        """No further call may start."""
        return time.monotonic() >= self._end


def standing(client: Client, model: str) -> list[Claim]:
    """All claims on the model, the oldest first."""
    tags = client.get_registered_model(model).tags
    claims = [_parse(key, value) for key, value in tags.items() if key.startswith(PREFIX)]
    return sorted((claim for claim in claims if claim), key=lambda claim: (claim.at, claim.name))


def take(client: Client, model: str, claim: Claim) -> list[Claim]:
    """No other promotion of the model begins until the claim is dropped. Returns the abandoned ones, to be finished.

    Raises:
        BusyError: another one goes on; the claim is dropped.
    """
    write(client, model, claim)
    patience = Deadline(COURTESY)
    while True:
        others = [other for other in standing(client, model) if other.name != claim.name]
        living = [other for other in others if not other.is_abandoned]
        if not living:
            return others
        # Of several that have not started, the one with the smallest name waits for the rest to step back.
        first = next((other for other in living if other.steps or other.name < claim.name), None)
        if first or patience.is_over:
            drop(client, model, claim)
            raise BusyError(_sentence(first or living[0]))
        time.sleep(0.05)


def write(client: Client, model: str, claim: Claim) -> None:
    """The registry holds the claim as it is."""
    client.set_registered_model_tag(model, claim.key, claim.model_dump_json())


def drop(client: Client, model: str, claim: Claim) -> None:
    """The claim is gone."""
    client.delete_registered_model_tag(model, claim.key)


def _parse(key: str, value: str) -> Claim | None:
    try:
        return Claim.model_validate_json(value).model_copy(update={"name": key.removeprefix(PREFIX)})
    except ValidationError:
        return None  # a tag that somebody wrote by hand is none of ours


def _sentence(other: Claim) -> str:
    return (
        f"another promotion goes on: {other}; try again when it is done (should it have died, "
        f"the next promotion after {(other.at + ABANDONED):%H:%M:%S} UTC finishes it)"
    )
