"""What a version must keep to pass its validation; each with a default, each settable in the environment.

`VALIDATION={"any_loss": 0.02, "latency_ms": 100}` changes two of them; a name that is not listed here is an error.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import SettingsError as UnreadableError

from training.settings import SettingsError, Termination

Metric = Literal["accuracy", "f1", "roc_auc"]
Share = Annotated[float, Field(ge=0, le=1)]


class Limits(BaseModel):
    """Thresholds of a validation. Metrics are 0 to 1, and a loss is how much lower the champion's successor scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least: Mapping[Metric, Share] = Field(
        default={"roc_auc": 0.6}, description="metrics that no version may fall below"
    )
    compared: tuple[Metric, ...] = Field(
        default=("roc_auc",), description="metrics in which it is compared with the champion"
    )
    certain_loss: Share = Field(
        default=0.005,
        description="largest loss when it is certain: the whole 95 % interval of the difference lies below zero",
    )
    any_loss: Share = Field(default=0.03, description="largest loss, certain or not")
    slice_least: Mapping[Metric, Share] = Field(
        default={"roc_auc": 0.55}, description="the same as `least`, for each slice"
    )
    slice_loss: Share = Field(default=0.05, description="largest certain loss in a slice")
    slice_rows: int = Field(default=50, ge=1, description="rows below which a slice is shown and not judged")
    slice_label_rows: int = Field(default=10, ge=1, description="the same for the rows of its rarer label")
    latency_ms: float = Field(
        default=250, gt=0, description="95 % of predictions of one row take at most so many milliseconds"
    )
    size_mb: float = Field(default=500, gt=0, description="largest size of the version's files, in MB (10^6 bytes)")
    skew: Literal["none", "patch", "minor", "any"] = Field(
        default="patch", description="how far packages may differ from those that the version was made with"
    )
    resamples: int = Field(default=500, ge=100, le=10_000, description="bootstrap samples behind an interval")


class Environment(Termination):
    """What a validation is told beside its command line."""

    validation: Limits = Limits()
    validation_deadline_seconds: int = Field(
        default=3600, ge=1, description="when it is given up by whoever started it, and others may look instead"
    )
    endpoint: str = Field(
        default="",
        description="URL of the endpoint that serves the model in the stack; the version that it serves is the "
        "champion. Without one, the champion is the version with the alias",
    )


def from_environment() -> Environment:
    """The limits that VALIDATION changes, and the defaults.

    Raises:
        SettingsError: with all that is wrong with it, in one line.
    """
    names = ", ".join(Limits.model_fields)
    form = f'it is a JSON object with some of {names}, as {{"any_loss": 0.02}}'
    try:
        return Environment()
    except UnreadableError as error:
        raise SettingsError(f"VALIDATION is no JSON ({error.__cause__}); {form}") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{_place(problem['loc'])}: {problem['msg'][:1].lower()}{problem['msg'][1:]}, not {problem['input']!r}"
            for problem in error.errors()
        )
        raise SettingsError(f"{wrong}; {form}") from error


def _place(location: Sequence[int | str]) -> str:
    variable, *rest = map(str, location)
    return " ".join([variable.upper(), *([".".join(rest)] if rest else [])])
