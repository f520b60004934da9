"""Types of values of a training job, each with its rule, the reason for it and what to write instead."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from contract import names
from infra.config import quantities
from infra.config.rules import LABEL, Rule


def _in_the_database(name: str) -> str:
    known = available_timezones()  # empty on a machine without the database; then the API server checks the name
    if name == "Local" or (known and name not in known):
        raise ValueError(name)
    return name


RESERVED_ACCOUNT = Rule(
    must=f"must not be validation, and not begin with {names.drift_account('')}",
    because="these service accounts belong to validations and drift jobs, and a run with one could forge validation "
    "reports or start trainings",
    instead="create a service account for the job, as in service_account: churn-training, or leave the key out",
)
IN_CRON = 'write it as in "0 3 * * 0", Sundays at three'
MOST_POINTS = 100
"""Largest number of points of a sweep; to search more, use a search method."""
ProjectName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$"),
    Rule(
        must="must be a name of a-z, 0-9, _ and -",
        because="a project is a file of training/projects",
        instead="write the file's name without .py, as in project: churn_boosted",
    ),
]
ParameterName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$"),
    Rule(
        must="must be a name of letters, 0-9 and _",
        because="it is a field of the project's parameter class",
        instead="rename it, as in n_estimators",
    ),
]
SchemaFile = Annotated[
    str,
    StringConstraints(pattern=r"^[^/\s]\S*\.json$"),
    Rule(
        must="must be the path of a JSON file, from the root of the repository",
        because="the JSON Schema in it checks the parameters of your own image",
        instead="write it as in parameter_schema: schema/mine.json",
    ),
]
Plain = StrictBool | StrictInt | StrictFloat | StrictStr
Scalar = Annotated[
    Plain,
    Rule(
        must="must be a text, a number or a truth value",
        because="the model's code gets this value",
        instead="write one value, as in max_depth: 10",
    ),
]
EphemeralStorage = Annotated[
    str,
    BeforeValidator(quantities.memory),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9]\d{0,6}(Ki|Mi|Gi|Ti)$", "examples": ["512Mi", "10Gi"]}),
    Rule(
        must="must be an amount of disk with a binary unit: Ki, Mi, Gi or Ti",
        because="the node reserves this amount, and evicts a run that writes more",
        instead="write it as in 2Gi: twice the size of dataset and model together",
    ),
]
Word = Annotated[
    str,
    StringConstraints(min_length=1),
    Rule(
        must="must be a text that is not empty",
        because="it is one word of the command line, and no shell splits it",
        instead='write each word by itself, as in ["python", "-m", "training.train"]',
    ),
]
ObjectName = Annotated[
    str,
    StringConstraints(pattern=rf"^{LABEL}(\.{LABEL})*$", max_length=253),
    Rule(
        must="must be the name of an object of the cluster: a-z, 0-9, - and .",
        because="without this object, the Job's pods are refused or wait forever",
        instead="write a name that `kubectl get` lists",
    ),
]
SecretKey = Annotated[
    str,
    StringConstraints(pattern=r"^[-._A-Za-z0-9]{1,253}$"),
    Rule(
        must="must be a key of a Secret: letters, digits, -, _ and .",
        because="the value is stored under this key",
        instead="write a key that `kubectl describe secret` lists",
    ),
]
Cron = Annotated[
    str,
    Rule(
        must="must be a schedule of five fields: minute, hour, day of the month, month, day of the week",
        because="Kubernetes starts a run when the time matches all fields",
        instead=IN_CRON,
    ),
]
TimeZone = Annotated[
    str,
    AfterValidator(_in_the_database),
    Rule(
        must="must be a time zone of the IANA database",
        because="the schedule's hours are in this time zone",
        instead="write it as in Europe/Berlin or Etc/UTC",
    ),
]
Kept = Annotated[
    int,
    Field(strict=True, ge=0, le=100),
    Rule(
        must="must be a whole number from 0 to 100",
        because="this number of ended Jobs is kept, with their logs",
        instead="write it as in keep_failed: 10",
    ),
]
ValidationMinutes = Annotated[
    int,
    Field(strict=True, ge=1, le=24 * 60),
    Rule(
        must="must be a whole number of minutes from 1 to 1440 (a day)",
        because="a validation that hangs is ended after this time, and the version is validated again",
        instead="write the longest time that a good validation takes, as in deadline_minutes: 30",
    ),
]
MaxParallel = Annotated[
    int,
    Field(strict=True, ge=1, le=MOST_POINTS),
    Rule(
        must=f"must be a whole number from 1 to {MOST_POINTS}",
        because="this number of points runs at the same time",
        instead="write the number of points that the node pool has room for, as in max_parallel: 2",
    ),
]
Metric = Annotated[
    str,
    StringConstraints(pattern=r"^[a-zA-Z][-a-zA-Z0-9_./]{0,99}$"),
    Rule(
        must="must be the name of a metric that each run logs",
        because="it decides which point is the best, and only that one is registered",
        instead="write it as MLflow shows it, as in metric: roc_auc",
    ),
]
Goal = Annotated[
    Literal["maximize", "minimize"],
    Rule(
        must="must be maximize or minimize",
        because="a loss is better when it is low, a score when it is high",
        instead="write goal: maximize, or leave the key out",
    ),
]

SOME_VALUES = Rule(
    must="must be a list of one value or more",
    because="the sweep tries each combination with the other parameters' values",
    instead="write it as in max_depth: [5, 10]",
)
SOME_PARAMETERS = Rule(
    must="must be a mapping of one parameter or more to a list of values",
    because="the sweep needs at least one value to try",
    instead="write it as in grid: {max_depth: [5, 10]}",
)
SOME_POINTS = Rule(
    must="must be a list of one point or more, each a mapping of parameters to values",
    because="each point is one run",
    instead="write it as in points: [{max_depth: 5}, {max_depth: 10}]",
)
NO_WORD = Rule(
    must="must be a list of words",
    because="it replaces the image's own command",
    instead='write it as in command: ["python", "-m", "training.train"]',
)

SWEEP_WITHIN_QUOTA = Rule(
    must="must fit mlops:quotas.training",
    because="the namespace would refuse the pods",
    instead="lower max_parallel or the requests of one run, or raise the quota",
)

VALIDATION_WITHIN_QUOTA = Rule(
    must="must request at most what mlops:quotas.training allows",
    because="the namespace would refuse the pod",
    instead="lower the requests, or raise the quota",
)


def invalid_schedule(fault: str) -> PydanticCustomError:
    """Return the error for an invalid schedule."""
    return Rule(
        must="must be a schedule of five fields: minute, hour, day of the month, month, day of the week",
        because=fault,
        instead=IN_CRON,
    ).broken()


def too_many_points(points: int) -> PydanticCustomError:
    """Return the error for a sweep with more than MOST_POINTS points."""
    return Rule(
        must=f"must have at most {MOST_POINTS} points",
        because="each point is a run, which costs money",
        instead="try fewer values, or run several sweeps one after the other",
    ).broken(f"{points} points")


def grid_or_points() -> PydanticCustomError:
    """Return the error for a sweep with both `grid` and `points`, or with neither."""
    return Rule(
        must="must be set if grid is not, and left out if grid is set",
        because="a sweep tries every combination of a grid's values, or the points that are listed",
        instead="write grid: {max_depth: [5, 10]} or points: [{max_depth: 5}, {max_depth: 10}]",
    ).broken()


def not_declared(name: str, parameters: Iterable[str]) -> PydanticCustomError:
    """Return the error for a swept parameter that the job does not declare."""
    known = sorted(parameters)
    close = get_close_matches(name, known, 1)
    return Rule(
        must=f"must not contain {name}",
        because="a sweep varies declared parameters; the value under parameters applies only to runs outside the sweep",
        instead=f"did you mean {close[0]}?" if close else f"add {name} to parameters, or write one of {known}",
    ).broken(f"a sweep of {name}")
