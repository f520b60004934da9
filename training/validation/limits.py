"""Limits that a version must keep to pass its validation.

The variable `VALIDATION={"any_loss": 0.02, "latency_ms": 100}` changes two defaults; an unknown name is an error.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import SettingsError as UnreadableError

from contract.tasks import ERRORS, METRICS, SHARES, Side, Task
from training.settings import SettingsError, Termination

Share = Annotated[float, Field(ge=0, le=1)]
Value = Annotated[float, Field(allow_inf_nan=False)]
DEFAULTS: Mapping[Task, Mapping[str, object]] = {
    "binary": {},
    "multiclass": {
        "least": {"roc_auc_ovr": 0.6},
        "compared": ("roc_auc_ovr",),
        "slice_least": {"roc_auc_ovr": 0.55},
    },
    "regression": {"least": {"r2": 0.0}, "compared": ("rmse",), "slice_least": {}},
    "custom": {"least": {}, "slice_least": {}},
}
"""Defaults of a task that differ from those of `Limits`. A regression with an r2 of 0 predicts as badly as the mean. A
custom task is compared by the first of its own metrics."""


class Limits(BaseModel):
    """Limits of a validation. A loss is how much worse than the champion's metric the version's metric is.

    Most metrics of the tasks are at most 1. A loss in any other metric (mae, rmse and those of a project or a script)
    is a share of the champion's value. The defaults of `least`, `compared` and `slice_least` are those of the task
    `binary`; `of` returns the limits with the defaults of another task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    least: Mapping[str, Value] = Field(default={"roc_auc": 0.6}, description="smallest value of each metric")
    most: Mapping[str, Value] = Field(
        default={}, description="largest value of each metric that is better when smaller, such as mae"
    )
    compared: tuple[str, ...] = Field(default=("roc_auc",), description="metrics that are compared with the champion's")
    certain_loss: Share = Field(
        default=0.005,
        description="largest certain loss: one whose whole 95 % interval is on the side of a loss",
    )
    any_loss: Share = Field(default=0.03, description="largest loss, whether certain or not")
    slice_least: Mapping[str, Value] = Field(
        default={"roc_auc": 0.55}, description="smallest value of each metric in a slice"
    )
    slice_loss: Share = Field(default=0.05, description="largest certain loss in a slice")
    slice_rows: int = Field(
        default=50, ge=1, description="smallest number of rows of a slice that is judged; smaller ones are only shown"
    )
    slice_label_rows: int = Field(
        default=10, ge=1, description="smallest number of rows with the rarer label in a slice that is judged"
    )
    latency_ms: float = Field(
        default=250, gt=0, description="largest 95th percentile of the latency for one row, in milliseconds"
    )
    size_mb: float = Field(default=500, gt=0, description="largest size of the version's files, in MB (10^6 bytes)")
    skew: Literal["none", "patch", "minor", "any"] = Field(
        default="patch", description="largest allowed difference between the packages here and those at training"
    )
    resamples: int = Field(default=500, ge=100, le=10_000, description="number of bootstrap samples for an interval")

    @field_validator("least", "slice_least")
    @classmethod
    def _in_range(cls, limits: Mapping[str, float]) -> Mapping[str, float]:
        if wrong := [name for name in sorted(SHARES & limits.keys()) if not 0 <= limits[name] <= 1]:
            raise ValueError(f"{', '.join(wrong)} must be from 0 to 1")
        return limits

    def of(self, task: Task, metrics: Mapping[str, Side] | None = None) -> Self:
        """Return these limits with the defaults of the task; `metrics` has the sides of a project's own metrics.

        Raises:
            SettingsError: a limit names a metric that the model does not have, or is on the wrong side.
        """
        sides: dict[str, Side] = {name: "smaller" if name in ERRORS else "larger" for name in METRICS[task]}
        sides |= metrics or {}
        defaults = {"compared": (next(iter(sides), ""),), **DEFAULTS[task]} if task == "custom" else DEFAULTS[task]
        own = type(self).model_validate({**defaults, **self.model_dump(exclude_unset=True)})
        given: Mapping[str, Mapping[str, float]] = {
            "least": own.least,
            "most": own.most,
            "compared": dict.fromkeys(own.compared, 0),
            "slice_least": own.slice_least,
        }
        for field, limited in given.items():
            side: Side = "smaller" if field == "most" else "larger"
            known = [name for name, better in sides.items() if field == "compared" or better == side]
            if unknown := sorted(set(limited) - set(known)):
                raise SettingsError(
                    f"VALIDATION {field} names {', '.join(unknown)}, but of this model with the task {task} it can "
                    f"limit only {', '.join(known) or 'nothing'}; write one of these, or leave {field} out"
                )
        return own


class Environment(Termination):
    """Environment variables of a validation."""

    validation: Limits = Limits()
    validation_deadline_seconds: int = Field(
        default=3600,
        ge=1,
        description="seconds after which the validation counts as dead, and another process may validate the version",
    )
    endpoint: str = Field(
        default="",
        description="URL of the model's endpoint in the stack; the version that it serves is the champion. Without a "
        "URL, the champion is the version with the alias @champion",
    )
    validation_allow_code: bool = Field(
        default=False,
        description="whether versions are validated that run code of their files when they are loaded, such as pickles",
    )
    validation_image: str = Field(
        default="",
        description="image of this validation, if a version with another recorded image is validated by `mlops "
        "validate` only; empty if this image validates every version",
    )
    validation_reports: str = Field(
        default="",
        description="URI of the folder for reports, which takes effect when the experiment `validations` is created; "
        "without one, MLflow chooses the folder",
    )


def from_environment() -> Environment:
    """Return the settings of a validation from the environment.

    Raises:
        SettingsError: a variable is wrong; the message lists all problems.
    """
    names = ", ".join(Limits.model_fields)
    form = f'write a JSON object with some of {names}, for example {{"any_loss": 0.02}}'
    try:
        return Environment()
    except UnreadableError as error:
        raise SettingsError(f"VALIDATION is not JSON ({error.__cause__}); {form}") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{_place(problem['loc'])}: {problem['msg'][:1].lower()}{problem['msg'][1:]}, not {problem['input']!r}"
            for problem in error.errors()
        )
        raise SettingsError(f"{wrong}; {form}") from error


def _place(location: Sequence[int | str]) -> str:
    variable, *rest = map(str, location)
    return " ".join([variable.upper(), *([".".join(rest)] if rest else [])])
