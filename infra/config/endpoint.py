"""Settings of an endpoint: autoscaling, model cache, tracing."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator

from infra.config import quantities, rules
from infra.config.rules import LABEL, Rule
from infra.config.section import Model

CpuPercent = Annotated[
    int,
    Field(strict=True, ge=10, le=1000),
    Rule(
        must="must be a whole number of percent from 10 to 1000",
        because="it is compared with the CPU that a pod requests; a pod may use more if the node has it",
        instead="write it as in cpu_percent: 70",
    ),
]
MemoryPercent = Annotated[
    int,
    Field(strict=True, ge=10, le=95),
    Rule(
        must="must be a whole number of percent from 10 to 95, or null",
        because="a pod is killed at 100 percent, and a model that always uses more would get pods up to replicas.max",
        instead="write it as in memory_percent: 80, or null if the model's memory use does not depend on the load",
    ),
]
InFlight = Annotated[
    int,
    Field(strict=True, ge=1, le=256),
    Rule(
        must="must be a whole number from 1 to 256",
        because="it is compared with the unanswered requests of a pod, and a pod holds at most 256",
        instead="write it as in in_flight: 8, or leave the key out",
    ),
]
StabilizationSeconds = Annotated[
    int,
    Field(strict=True, ge=0, le=3600),
    Rule(
        must="must be a whole number of seconds from 0 to 3600",
        because="the autoscaler keeps the highest recommendation of this period, and Kubernetes allows at most 3600",
        instead="write it as in scale_down_stabilization_seconds: 300",
    ),
]
CacheGib = Annotated[
    int,
    Field(strict=True, ge=1, le=16_384),
    Rule(
        must="must be a whole number of GiB from 1 to 16384",
        because="each node uses this much of its disk for models; images and pods need the rest",
        instead="write it as in gib: 20, or leave mlops:model_cache out",
    ),
]
Example = Annotated[
    Literal["require", "warn"],
    Rule(
        must="must be require or warn",
        because="it decides whether a version that cannot predict its own input example is served",
        instead="write example: warn if the model refuses its example on purpose, or leave the key out",
    ),
]
BodyMib = Annotated[
    int,
    Field(strict=True, ge=1, le=1024),
    Rule(
        must="must be a whole number of MiB from 1 to 1024",
        because="the server holds the whole body in memory and refuses a larger one",
        instead="write it as in max_body_mib: 20, or leave the key out for 10",
    ),
]
ModelMib = Annotated[
    int,
    Field(strict=True, ge=1, le=1_048_576),
    Rule(
        must="must be a whole number of MiB from 1 to 1048576",
        because="a large model gets more time to start",
        instead="write the size of the version's files, as MLflow lists them, or leave the key out for a small model",
    ),
]
Collector = Annotated[
    str,
    StringConstraints(
        pattern=rf"^https?://{LABEL}\.{LABEL}(\.svc(\.{LABEL})*)?:"
        r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])(/[A-Za-z0-9._~/-]*)?$"
    ),
    Rule(
        must="must be the URL of a Service of the cluster: http://service.namespace:port",
        because="an endpoint's pods may connect to this namespace and port only; the collector sends traces on",
        instead="write the URL for OTLP over HTTP, as in endpoint: http://collector.observability:4318",
    ),
]
TracedShare = Annotated[
    float,
    Field(strict=True, ge=0, le=1),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a number from 0 to 1",
        because="it is the share of traced requests; a request's own traceparent header overrides it",
        instead="write sample: 1.0 for all of them, or sample: 0 for none",
    ),
]


class ModelCache(Model):
    """Cache of model files on each node, for the next pods that start there."""

    gib: CacheGib
    """Disk space in GiB that the cache may use on each node. Example: 20"""


class Tracing(Model):
    """Traces of an endpoint's requests, sent to an OpenTelemetry collector in the cluster."""

    endpoint: Collector
    """URL of the collector's Service, for OTLP over HTTP. Example: http://collector.observability:4318"""
    sample: TracedShare = 1.0
    """Share of the requests without a `traceparent` header that is traced, 0 to 1. Example: 0.1"""


class ReplicaRange(Model):
    """Smallest and largest number of pods; the autoscaler chooses between them."""

    min: rules.Replicas
    """Smallest number of pods. Example: 3"""
    max: rules.Replicas
    """Largest number of pods. Example: 20"""

    @field_validator("max")
    @classmethod
    def _not_below_min(cls, most: int, info: ValidationInfo) -> int:
        if (fewest := info.data.get("min", 0)) > most:
            raise Rule(
                must=f"must be at least {fewest}, the value of min",
                because="the autoscaler chooses a number between them",
                instead=f"write max: {fewest} or more, or a lower min",
            ).broken()
        return most


class Autoscaling(Model):
    """Targets of an endpoint's autoscaler: averages over its pods above which it adds a pod."""

    cpu_percent: CpuPercent = 70
    """Average CPU use of the pods, in percent of the requested `cpu`, above which a pod is added. Example: 70"""
    memory_percent: MemoryPercent | None = 80
    """Average memory use of the pods, in percent of `memory`, above which a pod is added; null: memory is ignored.
    Example: 80
    """
    in_flight: InFlight | None = None
    """Average number of unanswered requests in a pod above which a pod is added; needs a metrics adapter. Without it
    the number is ignored.
    Example: 8
    """
    scale_down_stabilization_seconds: StabilizationSeconds = 300
    """Seconds for which the highest recommendation is kept before pods are removed. Example: 300"""
