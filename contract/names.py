"""Names that are contracts: people, other programs and the images rely on them."""

from collections.abc import Mapping

PLATFORM = "mlops-platform"
TRAINING = "ml-training"
SERVING = "ml-serving"

TRACKING_SERVICE = "mlflow"
TRACKING_PORT = 5000
TRACKING_PODS = {"app.kubernetes.io/component": "tracking"}
SERVING_PORT = 8080

MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"
TRAINING_JOBS = {"app.kubernetes.io/component": "training"}
VALIDATIONS = {"app.kubernetes.io/component": "validation"}
TRACKING_UI = "mlops/tracking-ui"
"""Annotation of a training job's template: where people reach MLflow."""
PARAMETERS = "PARAMETERS"
"""Variable of the training container: JSON of what the model's code takes; `mlops train` writes it anew."""
REQUESTER = "REQUESTER"
"""Another: who asked for the run; `mlops train` sets it."""


def validation(training: str) -> str:
    """The CronJob that validates what the training job registers. No training job is named so: infra refuses it."""
    return f"{training}-validation"


def endpoint_url(model: str) -> str:
    """Return the URL of the model's endpoint in the cluster, without a path."""
    return f"http://{model}.{SERVING}"


def selector(name: str, instance: str) -> dict[str, str]:
    """The labels that Services, Deployments and policies select by. They never change: a selector cannot."""
    return {"app.kubernetes.io/name": name, INSTANCE: instance}


def matching(labels: Mapping[str, str]) -> str:
    """The labels as `kubectl --selector` takes them."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def labels(name: str, instance: str, component: str, **more: str) -> dict[str, str]:
    """All labels of an object: the selector's, and what a person searches by; `more` as in version="3"."""
    return {
        **selector(name, instance),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "mlops",
        MANAGED_BY: "pulumi",
        **{f"app.kubernetes.io/{key}": value for key, value in more.items()},
    }
