"""Metrics of served predictions whose outcome is known, as a tag of the version."""

from datetime import datetime

from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, ValidationError

from contract.tags import OUTCOMES
from drift.outcomes import Joined
from training.registry.client import Client


class Measured(BaseModel):
    """Content of the tag `outcomes`, as JSON."""

    at: datetime
    """End of the period whose predictions were joined."""
    predictions: int
    """Number of predicted rows in the period."""
    rows: int
    """Number of rows whose outcome is known."""
    metrics: dict[str, tuple[float, float, float]]
    """Value, lower and upper bound of the 95 % interval, by metric; empty if too few outcomes are known."""
    worse: list[str]
    """Metrics that are certainly worse than what the training measured."""


def write(client: Client, version: ModelVersion, joined: Joined) -> Measured:
    """Write the metrics to the version, and return them."""
    found = Measured(
        at=joined.part.end,
        predictions=joined.predictions,
        rows=joined.outcomes,
        metrics={name: (one.value, one.low, one.high) for name, one in joined.whole.items()},
        worse=list(joined.worse),
    )
    client.set_model_version_tag(version.name, str(version.version), OUTCOMES, found.model_dump_json())
    return found


def of(version: ModelVersion) -> Measured | None:
    """Return the metrics that were written last; None if there are none, or the tag has another content."""
    try:
        return Measured.model_validate_json(version.tags.get(OUTCOMES, ""))
    except ValidationError:
        return None
