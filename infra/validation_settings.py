"""How the versions of a training job are looked at before they may go forward."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from infra import quantities, rules, training_rules, training_settings
from infra.model import Model
from infra.rules import Rule

Metric = Annotated[
    Literal["accuracy", "f1", "roc_auc"],
    Rule(
        must="must be accuracy, f1 or roc_auc",
        because="these are what a validation measures",
        instead="write roc_auc, unless labels count for more than their order",
    ),
]
Share = Annotated[
    float,
    Field(strict=True, ge=0, le=1),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number from 0 to 1",
        because="metrics are, and so is what is lost of them",
        instead="write it as in 0.05",
    ),
]
Least = Annotated[
    dict[Metric, Share],
    Rule(
        must="must be a mapping of metrics to the least that they may be",
        because="a version below is refused",
        instead="write it as in {roc_auc: 0.7}",
    ),
]
Compared = Annotated[
    list[Metric],
    Field(min_length=1),
    Rule(
        must="must be a list of one metric or more",
        because="in these a version is compared with the champion",
        instead="write it as in compared: [roc_auc]",
    ),
]
Rows = Annotated[
    int,
    Field(strict=True, ge=1),
    Rule(
        must="must be a whole number of at least 1",
        because="a slice with fewer rows is shown and not judged",
        instead="write it as in slice_rows: 50",
    ),
]
Milliseconds = Annotated[
    float,
    Field(strict=True, gt=0),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number of milliseconds above 0",
        because="a version is refused unless 95 of 100 predictions of one row are as quick",
        instead="write it as in latency_ms: 100",
    ),
]
Megabytes = Annotated[
    float,
    Field(strict=True, gt=0),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number of megabytes (10^6 bytes) above 0",
        because="a version whose files take more is refused",
        instead="write it as in size_mb: 500",
    ),
]
Skew = Annotated[
    Literal["none", "patch", "minor", "any"],
    Rule(
        must="must be none, patch, minor or any",
        because="so far may the serving image's packages be from those that the version was made with",
        instead="write skew: minor, or make the images alike",
    ),
]
Resamples = Annotated[
    int,
    Field(strict=True, ge=100, le=10_000),
    Rule(
        must="must be a whole number from 100 to 10000",
        because="so many bootstrap samples are behind an interval",
        instead="write it as in resamples: 500",
    ),
]


class Limits(Model):
    """What a version must keep to. What is left out has its default in training/limits.py, which says what each is."""

    least: Least | None = None
    compared: Compared | None = None
    certain_loss: Share | None = None
    any_loss: Share | None = None
    slice_least: Least | None = None
    slice_loss: Share | None = None
    slice_rows: Rows | None = None
    slice_label_rows: Rows | None = None
    latency_ms: Milliseconds | None = None
    size_mb: Megabytes | None = None
    skew: Skew | None = None
    resamples: Resamples | None = None


class Validation(Model):
    """Every new version is looked at in the serving image; not `enabled`, only when somebody asks."""

    enabled: rules.Truth = True
    schedule: training_rules.Cron | None = Field(
        default=None, description="In UTC; where it is left out, every 15 minutes."
    )
    cpu: rules.Cpu = "250m"
    memory: rules.Memory | None = Field(default=None, description="As much as the training run, where it is left out.")
    deadline_minutes: training_rules.ValidationMinutes = 30
    limits: Limits = Limits()

    @field_validator("schedule")
    @classmethod
    def _a_time_that_comes(cls, text: str | None) -> str | None:
        return text and training_settings.a_time_that_comes(text)
