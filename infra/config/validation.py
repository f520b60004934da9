"""Settings of the validation of a training job's versions."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from infra.config import image_rules, quantities, rules, training, training_rules
from infra.config.rules import Rule
from infra.config.section import Model

Value = Annotated[
    float,
    Field(strict=True, allow_inf_nan=False),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number",
        because="it is compared with the metric",
        instead="write it as in 0.7 or 250",
    ),
]
Most = Annotated[
    dict[training_rules.Metric, Value],
    Rule(
        must="must be a mapping of metrics to their largest allowed values",
        because="a version with a larger value is refused",
        instead="write it as in {mae: 250}",
    ),
]
Share = Annotated[
    float,
    Field(strict=True, ge=0, le=1),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number from 0 to 1",
        because="metrics and their losses are between 0 and 1",
        instead="write it as in 0.05",
    ),
]
Least = Annotated[
    dict[training_rules.Metric, Value],
    Rule(
        must="must be a mapping of metrics to their lowest allowed values",
        because="a version with a lower value is refused",
        instead="write it as in {roc_auc: 0.7}",
    ),
]
Compared = Annotated[
    list[training_rules.Metric],
    Field(min_length=1),
    Rule(
        must="must be a list of one metric or more",
        because="a version is compared with the champion in these metrics",
        instead="write it as in compared: [roc_auc]",
    ),
]
Rows = Annotated[
    int,
    Field(strict=True, ge=1),
    Rule(
        must="must be a whole number of at least 1",
        because="a slice with fewer rows is reported but refuses nothing",
        instead="write it as in slice_rows: 50",
    ),
]
Milliseconds = Annotated[
    float,
    Field(strict=True, gt=0),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number of milliseconds above 0",
        because="a version is refused unless 95 % of the predictions of one row are made within this time",
        instead="write it as in latency_ms: 100",
    ),
]
Megabytes = Annotated[
    float,
    Field(strict=True, gt=0),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number of megabytes (10^6 bytes) above 0",
        because="a version with larger files is refused",
        instead="write it as in size_mb: 500",
    ),
]
Skew = Annotated[
    Literal["none", "patch", "minor", "any"],
    Rule(
        must="must be none, patch, minor or any",
        because="it limits how far the serving image's package versions may differ from the version's own",
        instead="write skew: minor, or use the same packages in both images",
    ),
]
Resamples = Annotated[
    int,
    Field(strict=True, ge=100, le=10_000),
    Rule(
        must="must be a whole number from 100 to 10000",
        because="an interval is computed from this number of bootstrap samples",
        instead="write it as in resamples: 500",
    ),
]


class Limits(Model):
    """Limits that a version must keep to pass its validation. The defaults are in training/validation/limits.py."""

    least: Least | None = None
    """Metrics below which a version is refused. Default: {roc_auc: 0.6}, {roc_auc_ovr: 0.6}, {r2: 0} or none, by the
    task. Example: {roc_auc: 0.7}
    """
    most: Most | None = None
    """Metrics that are better when smaller, in their unit, above which a version is refused. Default: none.
    Example: {mae: 250}
    """
    compared: Compared | None = None
    """Metrics that are compared with the champion's. Default: [roc_auc], [roc_auc_ovr], [rmse] or the first own metric,
    by the task. Example: [roc_auc, f1]
    """
    certain_loss: Share | None = None
    """Largest allowed loss of a metric (0 to 1) against the champion when the whole 95 % interval of the difference
    lies on the side of a loss. A loss in mae, rmse or an own metric is a share of the champion's value. Default: 0.005.
    Example: 0.01
    """
    any_loss: Share | None = None
    """Largest allowed loss of a metric (0 to 1) against the champion, certain or not. Default: 0.03. Example: 0.02"""
    slice_least: Least | None = None
    """Metrics below which a version is refused, in each slice. Default: {roc_auc: 0.55}, {roc_auc_ovr: 0.55} or none,
    by the task.
    Example: {roc_auc: 0.6}
    """
    slice_loss: Share | None = None
    """Largest allowed certain loss of a metric (0 to 1) in one slice. Default: 0.05. Example: 0.05"""
    slice_rows: Rows | None = None
    """Number of rows below which a slice is reported but refuses nothing. Default: 50. Example: 50"""
    slice_label_rows: Rows | None = None
    """Number of rows of the rarer label below which a slice is reported but refuses nothing. Default: 10.
    Example: 10
    """
    latency_ms: Milliseconds | None = None
    """Milliseconds within which 95 % of the predictions of one row must be made. Default: 250. Example: 100"""
    size_mb: Megabytes | None = None
    """Largest size of the version's files in MB (10^6 bytes). Default: 500. Example: 500"""
    skew: Skew | None = None
    """Largest allowed difference between the serving image's package versions and the version's own. Default: patch.
    Example: minor
    """
    resamples: Resamples | None = None
    """Number of bootstrap samples for each interval. Default: 500. Example: 500"""


class Validation(Model):
    """Validation of new versions, with the packages of the serving image."""

    enabled: rules.Truth = True
    """Whether new versions are validated on `schedule` and after `mlops train`; otherwise only by `mlops validate`.
    Example: false
    """
    schedule: training_rules.Cron | None = None
    """Times, in UTC as five cron fields, at which new versions are looked for and validated. Default: every
    15 minutes.
    Example: "*/30 * * * *"
    """
    cpu: rules.Cpu = "250m"
    """CPU request of a validation. Example: 500m"""
    memory: rules.Memory | None = None
    """Memory request and limit of a validation. Default: `memory` of the training job. Example: 2Gi"""
    deadline_minutes: training_rules.ValidationMinutes = 30
    """Longest duration of a validation in minutes. Example: 30"""
    allow_code: rules.Truth = False
    """Whether a version may be loaded that can run code of its author: a pickle, a cloudpickle, a pyfunc model, or
    types that the project does not trust. Otherwise such a version is refused. Versions that the platform trains need
    no code.
    Example: true
    """
    image: image_rules.EndpointImage | None = None
    """Image whose packages validate: its name, or `auto` for the image that `mlops image` recorded for the version.
    With `auto`, the schedule passes over a version that has such an image, and `mlops validate` validates it. Default:
    `mlops:images.serving`.
    Example: auto
    """
    limits: Limits = Limits()
    """Limits that a version must keep to pass."""

    @field_validator("schedule")
    @classmethod
    def _valid_schedule(cls, text: str | None) -> str | None:
        return text and training.valid_schedule(text)
