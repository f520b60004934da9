"""Limits that a version must keep to pass its validation.

The variable `VALIDATION={"any_loss": 0.02, "latency_ms": 100}` changes two defaults; an unknown name is an error.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import SettingsError as UnreadableError

from contract.tasks import ERRORS, METRICS, Task
from training.settings import SettingsError, Termination

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
DEFAULTS: Mapping[Task, Mapping[str, object]] = {
    "binary": {},
    "multiclass": {
        "least": {"roc_auc_ovr": 0.6},
        "compared": ("roc_auc_ovr",),
        "slice_least": {"roc_auc_ovr": 0.55},
    },
    "regression": {"least": {"r2": 0.0}, "compared": ("rmse",), "slice_least": {}},
}
"""Defaults of a task that differ from those of `Limits`. A regression with an r2 of 0 predicts as badly as the mean."""


class Limits(BaseModel):
    """Limits of a validation. A loss is how much worse than the champion's metric the version's metric is.

    Metrics are from 0 to 1, but for mae and rmse, which have the unit of the target: a loss of these is a share of the
    champion's metric. The defaults of `least`, `compared` and `slice_least` are those of the task `binary`; `of`
    returns the limits with the defaults of another task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    least: Mapping[str, Share] = Field(default={"roc_auc": 0.6}, description="smallest value of each metric")
    most: Mapping[str, Amount] = Field(
        default={}, description="largest value of mae or rmse, in the unit of the target"
    )
    compared: tuple[str, ...] = Field(default=("roc_auc",), description="metrics that are compared with the champion's")
    certain_loss: Share = Field(
        default=0.005,
        description="largest certain loss: one whose whole 95 % interval is on the side of a loss",
    )
    any_loss: Share = Field(default=0.03, description="largest loss, whether certain or not")
    slice_least: Mapping[str, Share] = Field(
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

    def of(self, task: Task) -> Self:
        """Return these limits with the defaults of the task.

        Raises:
            SettingsError: a limit names a metric that the task does not have, or is on the wrong side.
        """
        own = type(self).model_validate({**DEFAULTS[task], **self.model_dump(exclude_unset=True)})
        sides = {"least": set(own.least), "most": set(own.most), "compared": set(own.compared)}
        sides["slice_least"] = set(own.slice_least)
        for field, names in sides.items():
            known = [name for name in METRICS[task] if field == "compared" or (name in ERRORS) == (field == "most")]
            if unknown := sorted(names - set(known)):
                raise SettingsError(
                    f"VALIDATION {field} names {', '.join(unknown)}, but of a model with the task {task} it can limit "
                    f"only {', '.join(known) or 'nothing'}; write one of these, or leave {field} out"
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
