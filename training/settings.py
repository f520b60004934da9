"""Settings of a training run, from environment variables. No other module of `training` reads the environment."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Json,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.names import LONGEST_MODEL_NAME, MODEL_NAME
from contract.tags import GIT_COMMIT, JOB_NAME, TRAINING_JOB

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, pattern=MODEL_NAME, max_length=LONGEST_MODEL_NAME)]
Value = StrictBool | StrictInt | StrictFloat | StrictStr
SECRET_PREFIX = "PARAMETER_"


class SettingsError(Exception):
    """The environment is wrong; the message names each variable, its value and rule, and what to write."""


class Termination(BaseSettings):
    """Path of the termination message. Read separately, because it is needed when the other settings are invalid."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    termination_log: Path = Field(
        default=Path("/dev/termination-log"),
        description="the file from which Kubernetes reads why a container failed",
        examples=["/tmp/why"],
    )


class SweepPlan(BaseModel):
    """Settings of a sweep, the same for all of its points."""

    model_config = ConfigDict(frozen=True)

    points: tuple[dict[str, Value], ...]
    """Parameters of each point."""
    metric: str
    """Name of the metric that decides which point is the best."""
    goal: Literal["maximize", "minimize"]
    """Whether a larger or a smaller metric is better."""
    retries: int
    """Number of times that a failed point is tried again."""


class Settings(Termination):
    """Settings of one training run. Each field is an environment variable of the same name in upper case."""

    project: Text = Field(description="the model project: the name of a file in training/projects", examples=["churn"])
    dataset: Text = Field(
        description="the address of the table, in CSV or Parquet: s3://BUCKET/KEY, file:///PATH or a path",
        examples=["s3://mlops-artifacts/datasets/churn.csv"],
    )
    model: Name = Field(
        description="the name under which the model is registered: lower case letters, digits and '-', at most 63, "
        "a letter first",
        examples=["churn-predictor"],
    )
    mlflow_tracking_uri: Text = Field(
        description="the address of the MLflow server that stores the run and the model",
        examples=["http://localhost:5000"],
    )
    experiment: Text = Field("default", description="the MLflow experiment of the run", examples=["churn"])
    parameters: Json[dict[str, Value]] = Field(
        default_factory=dict,
        validate_default=False,
        description="the project's parameters, as one JSON object of texts, numbers and booleans",
        examples=['{"n_estimators": 100}'],
    )

    git_commit: str = Field("", description="the commit of the code in the image", examples=["3f2a9c1"])
    image: str = Field("", description="the image of the container", examples=["lab.local/training:1a2b3c"])
    stack: str = Field("", description="the Pulumi stack that declared the job", examples=["local"])
    pulumi_urn: str = Field("", description="the Pulumi URN of the job", examples=["urn:pulumi:local::mlops::..."])
    training_job: str = Field("", description="the name of the job in the stack file", examples=["churn"])
    node_pool: str = Field("", description="the node pool of the job", examples=["cpu"])
    requester: str = Field("", description="the person who requested the run", examples=["ada"])
    job_name: str = Field("", description="the Kubernetes Job that the run belongs to", examples=["churn-x7k2p"])

    gpus: int = Field(0, ge=0, description="the number of GPUs that the container was given", examples=["1"])

    sweep: Json[SweepPlan] | None = Field(
        None,
        description="the sweep that the run belongs to, as one JSON object",
        examples=['{"points": [{"max_depth": 5}], "metric": "roc_auc", "goal": "maximize", "retries": 1}'],
    )
    job_completion_index: int = Field(0, ge=0, description="the index of the sweep's point, from 0", examples=["3"])
    index_failures: int = Field(0, ge=0, description="the number of failures of this point so far", examples=["1"])

    work_folder: Path = Field(
        Path("/tmp/training"),
        description="the folder that keeps the files of a run until MLflow has them",
        examples=["/tmp/training"],
    )
    mlflow_patience_seconds: float = Field(
        60,
        ge=0,
        le=86_400,
        description="the time in seconds to wait for an MLflow server that does not respond",
        examples=["60"],
    )

    @classmethod
    def load(cls, **given: object) -> Self:
        """Return the settings of this process; arguments take precedence over the environment.

        Raises:
            SettingsError: a variable is missing or wrong; the message names all of them.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError("; ".join(_messages(error))) from error

    def prepare_process(self) -> None:
        """Set variables that libraries read: MLflow gives up early, because this program retries, and logs less."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # the image has no git; the commit is in GIT_COMMIT

    @property
    def point(self) -> dict[str, Value]:
        """Parameters of this point of the sweep; empty for a run without a sweep.

        Raises:
            SettingsError: the sweep has no point of this index.
        """
        if self.sweep is None:
            return {}
        index, points = self.job_completion_index, self.sweep.points
        if index >= len(points):
            raise SettingsError(
                f"JOB_COMPLETION_INDEX={index} is too large: SWEEP has {len(points)} points, counted from 0; "
                "run the Job with as many completions as there are points"
            )
        return points[index]

    @property
    def secrets(self) -> dict[str, str]:
        """Parameters from Secrets, given as variables PARAMETER_NAME. They are never logged or recorded."""
        return {
            name.removeprefix(SECRET_PREFIX).lower(): value
            for name, value in os.environ.items()
            if name.startswith(SECRET_PREFIX)
        }

    @property
    def origin(self) -> dict[str, str]:
        """Tags of the run and the version that say where the run comes from; unknown ones are left out."""
        names = (
            "project",
            GIT_COMMIT,
            "image",
            "stack",
            "pulumi_urn",
            TRAINING_JOB,
            "node_pool",
            "requester",
            JOB_NAME,
        )
        return {name: value for name in names if (value := str(getattr(self, name)))}


def local_store() -> dict[str, str]:
    """Return settings for a local MLflow store in this folder; empty if the environment names an MLflow server."""
    return {} if os.environ.get("MLFLOW_TRACKING_URI") else {"mlflow_tracking_uri": "sqlite:///mlflow.db"}


def _messages(error: ValidationError) -> list[str]:
    messages: list[str] = []
    for problem in error.errors():
        field = str(problem["loc"][0])
        rule = Settings.model_fields[field]
        example = f"{field.upper()}={(rule.examples or [''])[0]}"
        if problem["type"] == "missing":
            messages.append(f"{field.upper()} is not set; it is {rule.description}; set it, for example {example}")
        else:
            fault = problem["msg"][:1].lower() + problem["msg"][1:]
            messages.append(
                f"{field.upper()}={problem['input']!r} is wrong ({fault}); it is {rule.description}; "
                f"for example {example}"
            )
    return messages
