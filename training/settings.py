"""What the container's environment asks for: the only reader, and writer, of it in this room."""

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

from contract.tags import GIT_COMMIT, JOB_NAME, TRAINING_JOB

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Value = StrictBool | StrictInt | StrictFloat | StrictStr
SECRET_PREFIX = "PARAMETER_"


class SettingsError(Exception):
    """The environment is incomplete or wrong; the message names each variable, its value, the rule and the way out."""


class Termination(BaseSettings):
    """Where to leave the last words. Apart from the rest: they are needed when the rest is wrong."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    termination_log: Path = Field(
        default=Path("/dev/termination-log"),
        description="where Kubernetes reads why a container failed",
        examples=["/tmp/why"],
    )


class SweepPlan(BaseModel):
    """What all points of a sweep know of it; `retries` is how often one of them may fail and be tried again."""

    model_config = ConfigDict(frozen=True)

    points: tuple[dict[str, Value], ...]
    metric: str
    goal: Literal["maximize", "minimize"]
    retries: int


class Settings(Termination):
    """One training run. Every field is an environment variable of the same name in upper case."""

    project: Text = Field(description="the model project: a file of training/projects", examples=["churn"])
    dataset: Text = Field(
        description="where the table to learn from lies: s3://BUCKET/KEY, file:///PATH or a path, in CSV or Parquet",
        examples=["s3://mlops-artifacts/datasets/churn.csv"],
    )
    model: Name = Field(
        description="the name under which the model is registered: lower case letters, digits and '-', at most 63",
        examples=["churn-predictor"],
    )
    mlflow_tracking_uri: Text = Field(
        description="the MLflow server that keeps the run and the model",
        examples=["http://localhost:5000"],
    )
    experiment: Text = Field("default", description="MLflow experiment of the run", examples=["churn"])
    parameters: Json[dict[str, Value]] = Field(
        default_factory=dict,
        validate_default=False,
        description="the project's parameters, as one JSON object of texts, numbers and truth values",
        examples=['{"n_estimators": 100}'],
    )

    git_commit: str = Field("", description="commit of the code in the image", examples=["3f2a9c1"])
    image: str = Field("", description="image of the container", examples=["lab.local/training:1a2b3c"])
    stack: str = Field("", description="Pulumi stack that declared the job", examples=["local"])
    pulumi_urn: str = Field("", description="Pulumi URN of the job", examples=["urn:pulumi:local::mlops::..."])
    training_job: str = Field("", description="name of the job in the stack file", examples=["churn"])
    node_pool: str = Field("", description="node pool of the job", examples=["cpu"])
    requester: str = Field("", description="who asked for the run", examples=["ada"])
    job_name: str = Field("", description="the Kubernetes Job that the run belongs to", examples=["churn-x7k2p"])

    sweep: Json[SweepPlan] | None = Field(
        None,
        description="the sweep that the run is one point of, as one JSON object",
        examples=['{"points": [{"max_depth": 5}], "metric": "roc_auc", "goal": "maximize", "retries": 1}'],
    )
    job_completion_index: int = Field(0, ge=0, description="which of the points, from 0", examples=["3"])
    index_failures: int = Field(0, ge=0, description="how often the point failed before", examples=["1"])

    work_folder: Path = Field(
        Path("/tmp/training"),
        description="where what a run made is kept until MLflow has it",
        examples=["/tmp/training"],
    )
    mlflow_patience_seconds: float = Field(
        60, ge=0, le=86_400, description="how long to wait for an MLflow that does not answer", examples=["60"]
    )

    @classmethod
    def load(cls, **given: object) -> Self:
        """The settings of this process; what is given stands before the environment.

        Raises:
            SettingsError: with all problems in one line.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError("; ".join(_sentences(error))) from error

    def prepare_process(self) -> None:
        """Libraries behave as a job needs: they give up soon, since we try again, and do not chat."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # the image has no git; GIT_COMMIT says what it would

    @property
    def point(self) -> dict[str, Value]:
        """Parameters that are this point's own; none outside of a sweep. SettingsError if there is no such point."""
        if self.sweep is None:
            return {}
        index, points = self.job_completion_index, self.sweep.points
        if index >= len(points):
            raise SettingsError(
                f"JOB_COMPLETION_INDEX={index} is wrong: SWEEP has {len(points)} points, the first is 0; "
                "run the Job with as many completions as there are points"
            )
        return points[index]

    @property
    def secrets(self) -> dict[str, str]:
        """Parameters given by reference to a Secret, as PARAMETER_NAME: used, and told nobody."""
        return {
            name.removeprefix(SECRET_PREFIX).lower(): value
            for name, value in os.environ.items()
            if name.startswith(SECRET_PREFIX)
        }

    @property
    def origin(self) -> dict[str, str]:
        """Where the run comes from, as tags of run and version; what is not known is left out."""
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
    """A file in this folder, where the environment names no MLflow."""
    return {} if os.environ.get("MLFLOW_TRACKING_URI") else {"mlflow_tracking_uri": "sqlite:///mlflow.db"}


def _sentences(error: ValidationError) -> list[str]:
    sentences: list[str] = []
    for problem in error.errors():
        field = str(problem["loc"][0])
        rule = Settings.model_fields[field]
        example = f"{field.upper()}={(rule.examples or [''])[0]}"
        if problem["type"] == "missing":
            sentences.append(f"{field.upper()} is not set; it is {rule.description}; set it, for example {example}")
        else:
            fault = problem["msg"][:1].lower() + problem["msg"][1:]
            sentences.append(
                f"{field.upper()}={problem['input']!r} is wrong ({fault}); it is {rule.description}; "
                f"for example {example}"
            )
    return sentences
