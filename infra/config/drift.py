"""Settings of an endpoint's drift job: drift, outcomes, retraining, with their rules."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from components import drift_job
from contract import names
from infra.config import cron, quantities, rules, training, training_rules
from infra.config.rules import Rule
from infra.config.section import Model

LONGEST_NAME = 52 - len(names.drift(""))
"""Largest length of the name of an endpoint with `drift`: a CronJob's name has at most 52 characters."""
LONGEST_WINDOW = timedelta(days=92)
OUTCOMES = "outcomes/"
"""Folder of the bucket that the drift job reads outcomes from."""

Length = Annotated[
    str,
    StringConstraints(pattern=r"^[1-9]\d{0,3}(h|d)$"),
    Rule(
        must="must be a whole number of hours or days",
        because="windows begin at multiples of their length in UTC, and pauses are counted in hours",
        instead="write it as in 24h or 7d",
    ),
]
LeastRows = Annotated[
    int,
    Field(strict=True, ge=50, le=1_000_000),
    Rule(
        must="must be a whole number from 50 to 1000000",
        because="in fewer rows only large differences can be distinguished from chance",
        instead="write it as in least_rows: 500, or leave the key out",
    ),
]
FalseAlarms = Annotated[
    float,
    Field(strict=True, gt=0, le=52),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number above 0 and at most 52",
        because="it is the number of false alarms in a year that you accept; with fewer, drift is found later",
        instead="write it as in false_alarms_per_year: 4, or leave the key out",
    ),
]
Engine = Annotated[
    Literal["local", "athena"],
    Rule(
        must="must be local or athena",
        because="either the job's own process counts the rows of a window, or Athena does",
        instead="write it as in engine: athena, or leave the key out",
    ),
]
Folder = Annotated[
    str,
    StringConstraints(pattern=rf"^s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]/{OUTCOMES}([^\s/*]+/)*$"),
    Rule(
        must=f"must be a folder s3://BUCKET/{OUTCOMES} or below it, with a slash at its end",
        because="the drift job may read outcomes only there",
        instead=f"write it as in s3://mlops-artifacts/{OUTCOMES}churn/",
    ),
]
Days = Annotated[
    int,
    Field(strict=True, ge=1, le=366),
    Rule(
        must="must be a whole number of days from 1 to 366",
        because="the predictions of this period are joined with their outcomes at each window",
        instead="write a period in which most outcomes become known, as in days: 30",
    ),
]
After = Annotated[
    int,
    Field(strict=True, ge=1, le=20),
    Rule(
        must="must be a whole number from 1 to 20",
        because="the model is trained again after this number of windows in a row that changed its predictions",
        instead="write it as in after: 2, or leave the key out",
    ),
]
Dollars = Annotated[
    float,
    Field(strict=True, gt=0),
    BeforeValidator(quantities.number),
    Rule(
        must="must be an amount of US dollars above 0",
        because="`mlops cost` refuses a stack whose retraining may cost more in a month",
        instead="write it as in budget_usd_per_month: 50, or leave the key out for no limit",
    ),
]
LOGGED = Rule(
    must="must be used with prediction_log",
    because="the drift job reads the prediction log",
    instead="write prediction_log: {} beside it, or settings of your own",
)
PREDICTIONS = Rule(
    must="must be used with a prediction_log that has the predictions",
    because="they show whether drift changes the predictions",
    instead="remove prediction from prediction_log.redact, or remove drift",
)
NEEDS_DRIFT = Rule(
    must="must be used with drift",
    because="the drift job does it",
    instead="write drift: {} beside it, or settings of your own",
)
NEEDS_ATHENA = Rule(
    must="must be used with mlops:athena",
    because="the statements run in the workgroup that this key declares, on AWS only",
    instead="write mlops:athena: {}, or settings of your own, or remove engine",
)
ATHENA_REACHED = Rule(
    must="must be used where pods reach Athena",
    because="a network without NAT gateways has a connection only to the services in interface_endpoints",
    instead="add athena to mlops:foundation.network.interface_endpoints, or write engine: local",
)
OFTEN = Rule(
    must="must come at least once in each window",
    because="only the last whole window is looked at, so the others would be skipped",
    instead="write a schedule with shorter pauses, as in @hourly, or a longer window",
)
NOT_SO_LONG = Rule(
    must=f"must be at most {LONGEST_WINDOW.days} days",
    because="drift would be found too late",
    instead="write window: 7d, and a smaller least_rows if there is little traffic",
)
SHORT_NAME = Rule(
    must=f"must be used in an endpoint whose name has at most {LONGEST_NAME} characters",
    because="its CronJob is named NAME-drift, and a CronJob's name has at most 52 characters",
    instead="serve the model under a shorter name: write model: with the model's name in an entry with another name",
)
OWN_NAME = Rule(
    must="must be used while no training job is named NAME-drift",
    because="the endpoint's drift job has this name",
    instead="rename the training job",
)
OWN_VERSION = Rule(
    must="must be used in one endpoint of a model's version only",
    because="the tags of the version hold the result of each window, and the second job would find it recorded",
    instead="remove drift from the endpoint with less traffic; `mlops drift` looks at it on request",
)
OWN_BUCKET = Rule(
    must=f"must lie below {OUTCOMES} in the stack's own bucket",
    because="the drift job may read only this bucket",
    instead=f"write the outcomes to s3://<mlops:foundation.artifacts.bucket>/{OUTCOMES}",
)
WITHIN_QUOTA = Rule(
    must="must be at most the values of mlops:quotas.training",
    because="the namespace would refuse the pod",
    instead="lower the request, or raise the quota",
)


def of_length(text: str) -> timedelta:
    """Return the time in a text such as 24h or 7d."""
    return timedelta(hours=int(text[:-1])) if text.endswith("h") else timedelta(days=int(text[:-1]))


class Drift(Model):
    """Job that compares an endpoint's requests with the training of the version that it serves."""

    schedule: training_rules.Cron | None = None
    """Times, in UTC as five cron fields, at which the job starts; it does each window once. Default: each hour.
    Example: "30 6 * * *"
    """
    window: Length = "24h"
    """Length of a window; windows do not overlap. Example: 24h"""
    least_rows: LeastRows = drift_job.LEAST_ROWS
    """Smallest number of rows that is compared; with fewer, the job says how long a window must be. Example: 500"""
    false_alarms_per_year: FalseAlarms = drift_job.FALSE_ALARMS_PER_YEAR
    """Number of false alarms in a year that is accepted. Example: 4"""
    engine: Engine = "local"
    """Reader of the log: `local`, the job's own process, or `athena`, for a log that outgrows one machine; it needs
    `mlops:athena`. Example: athena"""
    cpu: rules.Cpu = "250m"
    """CPU request of the job. Example: 500m"""
    memory: rules.Memory = "1Gi"
    """Memory request and limit of the job. Example: 2Gi"""
    deadline_minutes: rules.Minutes = 30
    """Longest duration of the job in minutes. Example: 30"""
    suspend: rules.Truth = False
    """Whether the schedule is paused. Example: true"""

    @field_validator("schedule")
    @classmethod
    def _valid_schedule(cls, text: str | None) -> str | None:
        return text and training.valid_schedule(text)

    @model_validator(mode="after")
    def _every_window_is_looked_at(self) -> "Drift":
        length = of_length(self.window)
        if length > LONGEST_WINDOW:
            raise NOT_SO_LONG.broken(f"used with window {self.window}")
        if self.schedule and (pause := cron.longest_pause(self.schedule)) > length:
            raise OFTEN.broken(
                f"used with schedule {self.schedule}, which pauses for {pause}, and window {self.window}"
            )
        return self


class Outcomes(Model):
    """Outcomes of an endpoint's predictions; a text instead of a mapping is the value of `folder`."""

    folder: Folder
    """Folder with the files of outcomes (docs/drift.md). Example: s3://mlops-artifacts/outcomes/churn/"""
    days: Days = 30
    """Days before the end of a window whose predictions are joined. Example: 30"""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"folder": value} if isinstance(value, str) else value


class Retrain(Model):
    """Retraining of an endpoint's model when drift changes its predictions, or outcomes show that it became worse."""

    training: rules.JobName
    """Training job of the model: an entry of `mlops:training` without a schedule. Example: churn"""
    after: After = 2
    """Number of windows in a row with an effect on the model after which it is trained again. Example: 2"""
    at_most_every: Length = "7d"
    """Shortest time between the starts of two retrainings of the model. Example: 7d"""
    budget_usd_per_month: Dollars | None = None
    """Limit in US dollars of what retraining may cost in a month; `mlops cost` checks it. Example: 50"""
    suspend: rules.Truth = False
    """Whether nothing is trained and nothing is proposed. Example: true"""


Entry = TypeVar("Entry", Outcomes, Retrain, None)


class _TrainingJob(Protocol):
    """Part of a training job's settings."""

    @property
    def model(self) -> str: ...
    @property
    def schedule(self) -> object: ...
    @property
    def validation(self) -> "_Validation": ...


class _Validation(Protocol):
    @property
    def enabled(self) -> bool: ...


def check_log(drift: Drift | None, endpoint: Mapping[str, Any]) -> Drift | None:
    """Return the entry after its check against the endpoint's prediction log."""
    if drift and "prediction_log" in endpoint:
        if (log := endpoint["prediction_log"]) is None:
            raise LOGGED.broken("used without prediction_log")
        if "prediction" in log.redact:
            raise PREDICTIONS.broken("used while prediction_log.redact has prediction")
    return drift


def check_names(name: str, trainings: Sequence[str]) -> None:
    """Raise the problem of an endpoint with a drift job whose name is too long or taken."""
    if len(name) > LONGEST_NAME:
        raise SHORT_NAME.broken(f"used with drift in {name}, which has {len(name)} characters")
    if names.drift(name) in trainings:
        raise OWN_NAME.broken(f"used with drift in {name} while there is a training job {names.drift(name)}")


def check_versions(watched: Mapping[str, tuple[str, int]]) -> None:
    """Raise the problem of two endpoints with a drift job that serve one version; `watched` has model and version."""
    first: dict[tuple[str, int], str] = {}
    for name, served in watched.items():
        if (other := first.setdefault(served, name)) != name:
            raise OWN_VERSION.broken(f"used with drift in {other} and in {name}, which serve version {served[1]}")


def check_training(
    name: str, retrain: Retrain, model: str, champion: str | None, trainings: Mapping[str, _TrainingJob]
) -> None:
    """Raise the problem of a retraining whose training job cannot replace the endpoint's version.

    Args:
        name: name of the endpoint.
        retrain: settings of the retraining.
        model: model that the endpoint serves.
        champion: endpoint whose version is the model's champion; None if no single one is.
        trainings: training jobs of the stack, by name.
    """
    job = trainings.get(retrain.training)
    where = f"used with retrain.training {retrain.training} in {name}"
    if job is None:
        known = [each for each, one in trainings.items() if one.model == model]
        raise Rule(
            must="must name an entry of mlops:training",
            because="the model is trained again from it",
            instead=f"write {' or '.join(known)}" if known else f"add an entry with model: {model}",
        ).broken(where)
    if job.model != model:
        raise Rule(
            must=f"must name a training job of the model {model}",
            because="the endpoint could not serve a version of another model",
            instead=f"write a job with model: {model}",
        ).broken(f"{where}, which trains {job.model}")
    if job.schedule is not None:
        raise Rule(
            must="must name a training job without a schedule",
            because="the model would be trained at the times of the schedule and again after drift",
            instead="remove schedule from the training job, or remove retrain from the endpoint",
        ).broken(f"{where}, which has a schedule")
    if not job.validation.enabled:
        raise Rule(
            must="must name a training job whose validation is enabled",
            because="only a version that passed its validation is proposed",
            instead="remove enabled: false from the validation of the training job",
        ).broken(f"{where}, whose validation is disabled")
    if champion != name:
        raise Rule(
            must="must be used in the endpoint whose version is the model's champion",
            because="new versions are validated against that version, and one endpoint alone may start trainings",
            instead=f"write retrain in {champion}"
            if champion
            else f"name one endpoint {model}, and write retrain there",
        ).broken(where)
