"""Settings from the container's environment. Only this module reads or writes the environment of the model server."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Json, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from model_server.body_budget import MEMORY_SHARE, memory_limit
from model_server.cpus import cpu_limit
from model_server.failure import ServingError

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Url = Annotated[Text, StringConstraints(pattern=r"^https?://[^\s/]+\S*$")]
THREAD_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Termination(BaseSettings):
    """Path of the termination message.

    It is read separately, because it is needed when the other settings are invalid.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, protected_namespaces=())

    termination_log: Path = Field(
        default=Path("/dev/termination-log"),
        description="the file in which Kubernetes finds the reason for a container's failure",
        examples=["/tmp/why"],
    )


class Settings(Termination):
    """Settings that all containers share. Each field is an environment variable with the same name in upper case."""

    model: Text = Field(description="the registered model's name", examples=["churn-predictor"])
    model_version: int = Field(
        ge=1, description="the version's number in the registry, 1 or more; no alias and no 'latest'", examples=["3"]
    )
    model_dir: Path = Field(Path("/model"), description="the folder that holds the versions", examples=["/model"])

    @property
    def version_dir(self) -> Path:
        """Return the folder of the version's files. It exists only when all files are in it."""
        return self.model_dir / self.model / str(self.model_version)

    @property
    def title(self) -> str:
        """Return the model and version as text, for messages."""
        return f"{self.model} version {self.model_version}"

    @classmethod
    def load(cls) -> Self:
        """Return the settings of this process.

        Raises:
            ServingError: settings are missing or invalid; the message lists all of them.
        """
        try:
            return cls.model_validate({})
        except ValidationError as error:
            raise ServingError("; ".join(_sentences(cls, error)), final=True) from error


class FetchSettings(Settings):
    """Settings of the init container that downloads the model version."""

    model_source: Text = Field(
        description="the URI of the folder with the version's files",
        examples=["s3://bucket/mlflow/models/m-1/artifacts"],
    )
    model_digest: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="the SHA-256 of the files; without it they are not verified",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    store_patience_seconds: float = Field(
        20, ge=0, le=600, description="seconds for retries while the artifact store does not respond", examples=["20"]
    )
    model_cache_dir: Path | None = Field(
        None,
        description="the node's folder for cached versions; without it there is no cache",
        examples=["/cache"],
    )
    model_cache_bytes: int = Field(
        10 << 30, ge=1, description="the size limit of the cache in bytes", examples=["10737418240"]
    )


class ServerSettings(Settings):
    """Settings of the model server."""

    host: Text = Field("0.0.0.0", description="the address to listen on", examples=["127.0.0.1"])
    port: int = Field(8080, ge=1, le=65535, description="the port to listen on", examples=["8080"])
    probe_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="the port for probes and metrics only; without it they are on the other port alone",
        examples=["8081"],
    )
    path_prefix: str = Field(
        "",
        pattern=r"^((/[A-Za-z0-9_-]+)+)?$",
        description="the beginning of the paths of clients outside the cluster, which the server removes",
        examples=["/churn"],
    )
    model_role: Literal["champion", "challenger", "shadow"] = Field(
        "champion",
        description="the role of this server: a label of every metric, and a column of the prediction log",
        examples=["shadow"],
    )
    unit_header: str = Field(
        "",
        pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]*$",
        description="the request header with the caller's key in an experiment; the prediction log gets its hash",
        examples=["X-Customer-Id"],
    )
    unit_salt: SecretStr = Field(
        SecretStr(""), description="the secret key of that hash, 16 characters or more", examples=["(from a Secret)"]
    )
    threads: int = Field(
        default_factory=cpu_limit, ge=1, le=256, description="the number of worker threads", examples=["2"]
    )
    max_batch: int = Field(32, ge=1, le=4096, description="the limit of requests in one batch", examples=["32"])
    max_wait_ms: float = Field(
        0,
        ge=0,
        le=1000,
        description="milliseconds for which a worker waits for more requests; 0 takes only those already queued",
        examples=["2"],
    )
    max_queue: int = Field(
        256, ge=1, le=100_000, description="the limit of queued requests; more are refused with 429", examples=["256"]
    )
    deadline_seconds: float = Field(
        30, gt=0, le=3600, description="seconds until a request without a response gets 504", examples=["30"]
    )
    example: Literal["require", "warn"] = Field(
        "require",
        description="what to do if the model fails on its own input example: 'require' fails, 'warn' logs it",
        examples=["warn"],
    )
    mlflow_allow_pickle_deserialization: bool = Field(
        default=True, description="whether a model may contain pickled objects, which run code", examples=["true"]
    )
    max_request_bytes: int = Field(
        10 * 1024 * 1024, ge=1, description="the size limit of a request body in bytes", examples=["10485760"]
    )
    memory_bytes: int = Field(
        default_factory=memory_limit,
        ge=1,
        description="the memory limit of the container in bytes, which limits the bodies in memory",
        examples=["1073741824"],
    )
    drain_seconds: int = Field(
        30,
        ge=0,
        le=3600,
        description="seconds for which a stopping server waits for requests in progress",
        examples=["30"],
    )
    prediction_log_dir: Path | None = Field(
        None, description="the folder of the prediction log; without it there is no log", examples=["/predictions"]
    )
    prediction_log_sample: float = Field(
        1.0, ge=0, le=1, description="the share of requests that are logged, from 0 to 1", examples=["0.1"]
    )
    prediction_log_redact: Json[tuple[str, ...]] = Field(
        (),
        validate_default=False,
        description="a JSON list of columns that are never logged",
        examples=['["name", "email"]'],
    )
    prediction_log_spool_bytes: int = Field(
        256 << 20,
        ge=1 << 16,
        description="the limit of bytes that wait on disk for their upload",
        examples=["268435456"],
    )
    prediction_log_segment_bytes: int = Field(
        4 << 20, ge=1, description="the size in bytes at which a segment is closed for its upload", examples=["4194304"]
    )
    prediction_log_segment_seconds: float = Field(
        60, gt=0, description="the age in seconds at which a segment is closed for its upload", examples=["60"]
    )
    otel_exporter_otlp_endpoint: Url | None = Field(
        None,
        description="the URL of an OpenTelemetry collector for OTLP over HTTP; without it there are no traces",
        examples=["http://collector.observability:4318"],
    )
    otel_traces_sampler_arg: float = Field(
        1.0,
        ge=0,
        le=1,
        description="the share of requests without a traceparent that are traced, from 0 to 1",
        examples=["0.1"],
    )

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of all metrics and traces."""
        return {"model": self.model, "version": str(self.model_version), "role": self.model_role}

    @property
    def body_budget(self) -> int:
        """Return the bytes of request bodies that may be in memory at the same time, at least one body."""
        return max(self.memory_bytes // MEMORY_SHARE, self.max_request_bytes)

    def prepare_process(self) -> None:
        """Set the environment variables of the libraries, among them the size of their thread pools.

        The libraries read them when they are loaded, so call this before anything imports numpy.
        """
        for variable in THREAD_POOLS:
            os.environ.setdefault(variable, str(self.threads))
        # With this variable MLflow checks signatures as `mlflow models serve` does.
        os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
        # MLflow's warnings repeat the response and our own log line in another format.
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        os.environ["PROMETHEUS_DISABLE_CREATED_SERIES"] = "true"
        # MLflow's spans of a model's own functions would contain inputs and predictions.
        os.environ["MLFLOW_ENABLE_OTLP_EXPORTER"] = "false"


class BatchSettings(ServerSettings):
    """Settings of a batch: one pod of an Indexed Job, which predicts the partitions of its index."""

    batch_input: Text = Field(
        pattern=r"^s3://[^/*]+/[^*]+/[^/*]*\*[^/*]*\.parquet$",
        description="the URI of the partitions, with one * in the name of the files",
        examples=["s3://bucket/batch/customers/*.parquet"],
    )
    batch_output: Text = Field(
        pattern=r"^s3://[^/*]+/[^*]*[^/*]$",
        description="the URI of the folder for the results",
        examples=["s3://bucket/batch/churn"],
    )
    batch_workers: int = Field(1, ge=1, le=1000, description="the number of pods of the batch", examples=["4"])
    batch_rows: int = Field(
        5000, ge=1, le=1_000_000, description="the number of rows that the model gets at a time", examples=["5000"]
    )
    job_completion_index: int = Field(
        0, ge=0, description="the index of this pod; Kubernetes sets it in an Indexed Job", examples=["0"]
    )
    model_digest: str = Field(
        "", description="the SHA-256 of the version's files, which each result records", examples=["9f86d0818..."]
    )

    @property
    def input_parts(self) -> tuple[str, str, re.Pattern[str]]:
        """Return the bucket, the folder with a slash at its end, and the pattern of the file names."""
        bucket, _, key = self.batch_input.removeprefix("s3://").partition("/")
        folder, _, name = key.rpartition("/")
        before, _, after = name.partition("*")
        return bucket, f"{folder}/", re.compile(f"{re.escape(before)}[^/]*{re.escape(after)}")

    def output_of(self, name: str) -> tuple[str, str]:
        """Return the bucket and the key of the result of the partition with this name."""
        bucket, _, folder = self.batch_output.removeprefix("s3://").partition("/")
        return bucket, f"{folder}/version={self.model_version}/{name}"


class ShipSettings(Settings):
    """Settings of the container that uploads the prediction log. The AWS variables are read by boto3 itself."""

    prediction_log_dir: Path = Field(description="the folder of the prediction log", examples=["/predictions"])
    artifact_bucket: Text = Field(description="the bucket for the prediction log", examples=["mlops-artifacts"])
    pod_name: Text = Field(
        description="the pod's name, which is part of each object's key", examples=["churn-predictor-5d9f-x7k2p"]
    )
    prediction_log_drain_seconds: float = Field(
        10, ge=0, le=600, description="seconds for which a stopping container goes on uploading", examples=["10"]
    )


def _sentences(cls: type[Settings], error: ValidationError) -> list[str]:
    sentences: list[str] = []
    for problem in error.errors():
        field = str(problem["loc"][0])
        rule = cls.model_fields[field]
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
