"""Facts about versions of models, as MLflow holds them. A fact that MLflow does not hold is None, with its reason."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from training.registry.stages import Stage


def _finite(value: object) -> object:
    """JSON has no NaN: MLflow writes the text "NaN", Python's json the bare word, and pydantic null.

    MLflow keeps an infinite metric as the largest float.
    """
    try:
        return value if value is None or abs(float(str(value))) < sys.float_info.max else None
    except ValueError:
        return value  # pydantic names the fault


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A number, or None where it is missing, infinite or not a number."""


class Frozen(BaseModel):
    """Base of all values in this package: frozen, and tolerant of fields that a newer writer adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Reference(Frozen):
    """One version of a registered model, as a stack file or a stack's state names it."""

    model: str
    version: int
    digest: str = ""
    """SHA-256 of the version's files, with or without the prefix `sha256:`; empty where the stack file sets none."""


class Change(Frozen):
    """What a release does to one endpoint."""

    endpoint: str
    old: Reference | None
    """The version that is served now; None for a new endpoint."""
    new: Reference | None
    """The version that shall be served; None for an endpoint that is removed."""


class Column(Frozen):
    """A column of a signature. `kind` is MLflow's type, such as `long`, or the element type and shape of a tensor."""

    name: str
    kind: str
    required: bool = True


class Signature(Frozen):
    """The columns that a version takes and returns."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]


class Estimate(Frozen):
    """A metric, or a difference of two, with the ends of its 95 % interval."""

    value: Number
    low: Number = None
    high: Number = None

    @property
    def signed(self) -> str:
        """The estimate with signs: `+0.012 (-0.003 to +0.027)`."""
        if self.value is None:
            return number(None)
        return f"{number(self.value, '+')} ({number(self.low, '+')} to {number(self.high, '+')})"

    @property
    def negated(self) -> "Estimate":
        """The difference seen from the other side."""
        value, low, high = (None if bound is None else -bound for bound in (self.value, self.high, self.low))
        return Estimate(value=value, low=low, high=high)


class Scores(Frozen):
    """A version's metrics on some rows, and how they differ from the champion's there (positive: better)."""

    rows: int
    own: Mapping[str, Estimate] = {}
    other: Mapping[str, Estimate] = {}
    difference: Mapping[str, Estimate] = {}


class Slice(Frozen):
    """The scores on the rows of one category."""

    name: str
    scores: Scores
    judged: bool = True
    """The slice has enough rows for its limits to apply."""


class Check(Frozen):
    """One check of a validation."""

    name: str
    outcome: str
    said: str


class Limits(Frozen):
    """The part of a validation's limits that a preview shows."""

    compared: tuple[str, ...] = ()


class Report(Frozen):
    """The evidence of a validation: the file report.json that training/validate.py writes."""

    model: str
    version: int
    champion: int | None = None
    dataset_digest: str = ""
    limits: Limits = Limits()
    checks: tuple[Check, ...] = ()
    scores: Scores | None = None
    slices: tuple[Slice, ...] = ()
    size_mb: Number = None
    latency_ms: Number = None


class Version(Frozen):
    """What MLflow knows of one version."""

    model: str
    number: int
    digest: str | None = None
    """SHA-256 of the files at registration."""
    run: str | None = None
    author: str | None = None
    commit: str | None = None
    image: str | None = None
    training_job: str | None = None
    dataset: str | None = None
    dataset_digest: str | None = None
    rows: int | None = None
    """Rows of the dataset."""
    registered: datetime | None = None
    description: str = ""
    parameters: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    signature: Signature | None = None
    requirements: tuple[str, ...] | None = None
    """Lines of the model's requirements.txt."""
    size_mb: float | None = None
    """Size of the files in MB (10^6 bytes)."""
    latency_ms: float | None = None
    """95 % of predictions of one row took at most so many milliseconds in the validation."""
    validation_status: str = ""
    """`passed`, `refused`, `running`, `broken`, or empty for a version that no validation has looked at."""
    validated_at: datetime | None = None
    validated_against: str = ""
    """The champion at the validation: a number, `none`, or empty where the version does not say."""
    report: Report | None = None
    stage: Stage = Stage.NONE
    aliases: tuple[str, ...] = ()
    promoted_at: datetime | None = None
    """The last time that the version became the champion."""
    was_champion: bool = False
    """The version is, or once was, the champion."""
    restored: bool = False
    """A rollback in the registry made the version the champion the last time."""
    rolled_back: bool = False
    """A rollback in the registry archived the version the last time."""
    unknown: Mapping[str, str] = {}
    """The facts that could not be read, each with the reason."""


class Model(Frozen):
    """A registered model."""

    name: str
    aliases: Mapping[str, int] = {}
    dangling: tuple[str, ...] = ()
    """Aliases whose version does not exist."""
    numbers: tuple[int, ...] = ()
    """Versions that exist, the oldest first; read only where a version that was asked for is missing."""


class Unverified(Frozen):
    """MLflow could not be asked."""

    why: str
    kind: Literal["unverified"] = "unverified"

    def __str__(self) -> str:
        return f"could not be verified: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What MLflow answered. A model or version that does not exist is absent."""

    models: Mapping[str, Model]
    versions: Mapping[tuple[str, int], Version]

    def version(self, of: Reference | None) -> Version | None:
        """The facts of the version; None where it does not exist or none is asked for."""
        return self.versions.get((of.model, of.version)) if of else None


def number(value: float | None, sign: Literal["", "+"] = "") -> str:
    """Return the number with three decimal places, or `unknown`."""
    return "unknown" if value is None else f"{round(value, 3) + 0.0:{sign}.3f}"  # + 0.0: never -0.000
