"""Facts about model versions, read from MLflow. A fact that MLflow does not have is None."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from contract.stages import Stage
from contract.tasks import ERRORS


def _finite(value: object) -> object:
    """Return None for a number that is infinite or NaN, and any other value as it is.

    JSON has no NaN: MLflow writes the text "NaN", Python's json writes the word NaN without quotes, and pydantic writes
    null. MLflow stores an infinite metric as the largest float.
    """
    try:
        return value if value is None or abs(float(str(value))) < sys.float_info.max else None
    except ValueError:
        return value  # pydantic names the fault


Number = Annotated[float | None, BeforeValidator(_finite)]
"""Number, or None if it is missing, infinite or not a number."""


PROFILE = "reference profile"
"""Name of the fact that a version has a profile of its training; it is in `Version.unknown` if it has none."""


class Frozen(BaseModel):
    """Base of all values in this package: frozen, and tolerant of fields that a newer writer adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Reference(Frozen):
    """One version of a registered model, as a stack file or a stack's state names it."""

    model: str
    version: int
    digest: str = ""
    """SHA-256 of the version's files, with or without the prefix `sha256:`; empty if the stack file sets none."""


class Change(Frozen):
    """Change of the served version of one endpoint."""

    endpoint: str
    old: Reference | None
    """Version that is served now; None for a new endpoint."""
    new: Reference | None
    """Version that is served after the release; None for an endpoint that is removed."""
    role: str = ""
    """`challenger` or `shadow` for a version that runs beside `old`, `batch` for that of a batch; empty for the version
    that an endpoint serves."""
    needs_profile: bool = False
    """True if a drift job compares the endpoint's requests with the profile of the version's training."""

    @property
    def entry(self) -> str:
        """Key of the endpoint or batch in the stack file."""
        if self.role == "batch":
            return f"mlops:batch.{self.endpoint}"
        return f"mlops:endpoints.{self.endpoint.removesuffix(f'-{self.role}')}"


class Column(Frozen):
    """Column of a signature. `kind` is MLflow's type, such as `long`, or the element type and shape of a tensor."""

    name: str
    kind: str
    required: bool = True


class Signature(Frozen):
    """Columns that a version takes and returns."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]


class Estimate(Frozen):
    """Metric, or difference of two metrics, with the bounds of its 95 % interval."""

    value: Number
    low: Number = None
    high: Number = None

    @property
    def signed(self) -> str:
        """Text of the estimate with signs, such as `+0.012 (-0.003 to +0.027)`."""
        if self.value is None:
            return number(None)
        return f"{number(self.value, '+')} ({number(self.low, '+')} to {number(self.high, '+')})"

    @property
    def negated(self) -> "Estimate":
        """Difference with the opposite sign, as the other version sees it."""
        value, low, high = (None if bound is None else -bound for bound in (self.value, self.high, self.low))
        return Estimate(value=value, low=low, high=high)


class Scores(Frozen):
    """Metrics of a version on some rows, and their differences to the champion's metrics (positive: better)."""

    rows: int
    own: Mapping[str, Estimate] = {}
    other: Mapping[str, Estimate] = {}
    difference: Mapping[str, Estimate] = {}
    smaller: tuple[str, ...] = tuple(sorted(ERRORS))
    """Names of the metrics that are better when smaller."""


class Slice(Frozen):
    """Scores of a version on the rows of one category."""

    name: str
    scores: Scores
    judged: bool = True
    """True if the slice has enough rows for its limits to apply."""


class Check(Frozen):
    """One check of a validation."""

    name: str
    outcome: str
    said: str


class Limits(Frozen):
    """Limits of a validation, as far as a preview shows them."""

    compared: tuple[str, ...] = ()


class Report(Frozen):
    """Report of a validation: the file report.json that training/validate.py writes."""

    model: str
    version: int
    champion: int | None = None
    champion_alias: int | None = None
    """Version that had the alias @champion."""
    status: str = ""
    """Result: `passed` or `refused`."""
    model_digest: str = ""
    """SHA-256 of the version's files."""
    dataset_digest: str = ""
    limits: Limits = Limits()
    checks: tuple[Check, ...] = ()
    scores: Scores | None = None
    slices: tuple[Slice, ...] = ()
    size_mb: Number = None
    latency_ms: Number = None


class Version(Frozen):
    """Facts about one version."""

    model: str
    number: int
    digest: str | None = None
    """SHA-256 of the files at registration."""
    source: str | None = None
    """URI of the folder with the files."""
    run: str | None = None
    author: str | None = None
    commit: str | None = None
    image: str | None = None
    training_job: str | None = None
    is_of_notebook: bool = False
    """True if a notebook trained the version."""
    dataset: str | None = None
    dataset_digest: str | None = None
    rows: int | None = None
    """Number of rows of the dataset."""
    registered: datetime | None = None
    description: str = ""
    parameters: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    smaller: tuple[str, ...] = tuple(sorted(ERRORS))
    """Names of the metrics that are better when smaller."""
    signature: Signature | None = None
    requirements: tuple[str, ...] | None = None
    """Lines of the model's requirements.txt."""
    serving_image: str = ""
    """Image that `mlops image` recorded for the version's packages; empty if the standard image serves it."""
    size_mb: float | None = None
    """Size of the files in MB (10^6 bytes)."""
    latency_ms: float | None = None
    """Time in milliseconds to predict one row, as the validation measured it: 95 % of the predictions are faster."""
    validation_status: str = ""
    """`passed`, `refused`, `running`, `broken`, or empty for a version that was never validated; `unproven` if its tag
    says `passed` and no report proves it."""
    validated_at: datetime | None = None
    validated_against: str = ""
    """Number of the champion at the validation, `none` if there was none, or empty if the version has no such tag."""
    report: Report | None = None
    stage: Stage = Stage.NONE
    aliases: tuple[str, ...] = ()
    promoted_at: datetime | None = None
    """Time at which the version last became the champion."""
    was_champion: bool = False
    """True if the version is or was the champion."""
    restored: bool = False
    """True if the version last became the champion through a rollback in the registry."""
    rolled_back: bool = False
    """True if the version was last archived by a rollback in the registry."""
    unknown: Mapping[str, str] = {}
    """Reason for each fact that could not be read, by the fact's name."""


class Model(Frozen):
    """A registered model."""

    name: str
    aliases: Mapping[str, int] = {}
    dangling: tuple[str, ...] = ()
    """Aliases whose version does not exist."""
    numbers: tuple[int, ...] = ()
    """Versions that exist, the oldest first; read only if a requested version is missing."""


class Unverified(Frozen):
    """Reason why the facts could not be read from MLflow."""

    why: str
    kind: Literal["unverified"] = "unverified"

    def __str__(self) -> str:
        return f"could not be verified: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts from MLflow about models and versions. A model or version that does not exist is absent."""

    models: Mapping[str, Model]
    versions: Mapping[tuple[str, int], Version]

    def version(self, of: Reference | None) -> Version | None:
        """Return the facts of the version; None if it does not exist or `of` is None."""
        return self.versions.get((of.model, of.version)) if of else None


def number(value: float | None, sign: Literal["", "+"] = "") -> str:
    """Return the number with three decimal places, or `unknown`."""
    return "unknown" if value is None else f"{round(value, 3) + 0.0:{sign}.3f}"  # + 0.0: never -0.000
