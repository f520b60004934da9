"""Rules for the shared memory of a training job."""

from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from infra.config import quantities
from infra.config.rules import Rule

SharedMemory = Annotated[
    str,
    BeforeValidator(quantities.memory),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9]\d{0,6}(Ki|Mi|Gi|Ti)$", "examples": ["512Mi"]}),
    Rule(
        must="must be an amount of memory with a binary unit: Ki, Mi, Gi or Ti",
        because="/dev/shm gets this size",
        instead="write it as in 2Gi: the batches that the workers of a data loader hold at the same time",
    ),
]


def half(memory: str) -> str:
    """Return half of an amount of memory, in whole KiB."""
    return quantities.memory_text(max(quantities.octets(memory) // 2 // 1024, 1) * 1024)


def within_memory(memory: str) -> ValueError:
    """Return the error for shared memory that is larger than the run's memory."""
    return Rule(
        must=f"must be at most {memory}, the value of memory",
        because="what is in /dev/shm counts as memory of the run, and Kubernetes would end the run",
        instead="raise memory, or write a smaller shared_memory",
    ).broken()
