"""Names that users, other programs and the images rely on: namespaces, Services, labels, environment variables."""

from collections.abc import Mapping, Sequence

PLATFORM = "mlops-platform"
TRAINING = "ml-training"
SERVING = "ml-serving"

TRACKING_SERVICE = "mlflow"
TRACKING_PORT = 5000
TRACKING_HOST = f"{TRACKING_SERVICE}.{PLATFORM}:{TRACKING_PORT}"
"""Host header of requests to MLflow through a forwarded port; MLflow refuses a host that it does not know."""
TRACKING_ALIAS = "mlflow-server"
"""Second name of MLflow's Service, for pods of training: tutorials use http://mlflow-server:5000."""
TRACKING_AUDIENCE = "mlflow"
"""Audience of the tokens that MLflow's gateway accepts."""
PEOPLE, PROMOTER = "mlflow-people", "mlflow-promoter"
"""Service accounts in the namespace mlops-platform as which people ask MLflow: to read, and to promote and delete."""
TRACKING_PODS = {"app.kubernetes.io/component": "tracking"}
SERVING_PORT = 8080
PROBE_PORT = 8081
"""Port of a model server for the kubelet's probes and for scrapers; it makes no predictions."""

VIEWERS, TRAINERS, ONCALL, ADMINS = "mlops-viewers", "mlops-trainers", "mlops-oncall", "mlops-admins"
"""Kubernetes groups of people, by which roles are bound."""
PREVIEWERS = "mlops-previewers"
"""Kubernetes group of the roles that preview a stack."""

NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
QUEUE = "kueue.x-k8s.io/queue-name"
INSTANCE = "app.kubernetes.io/instance"
VERSION = "app.kubernetes.io/version"
TRAINING_JOBS = {"app.kubernetes.io/component": "training"}
LOCAL_BUCKET = "mlops-artifacts"
"""Name of the artifact store's bucket in a local stack."""
REFERENCE_PROFILE = "extra_files/reference_profile.json"
"""Path of the profile of the training's table among a version's files; drift is measured against it."""
VALIDATION_REPORTS = "validations"
"""Folder of the artifact store's bucket with the reports of validations."""
VALIDATIONS = {"app.kubernetes.io/component": "validation"}
NOTEBOOKS = {"app.kubernetes.io/component": "notebook"}
DRIFT = {"app.kubernetes.io/component": "drift"}
DRIFT_REPORTS = f"{VALIDATION_REPORTS}/drift"
"""Folder of the artifact store's bucket with the reports of the drift jobs."""
JOINED_TABLES = "datasets/outcomes"
"""Folder of the artifact store's bucket with the tables of predictions and outcomes that the drift jobs write."""
ENDPOINTS = {"app.kubernetes.io/component": "serving"}
"""Label of the pods that get an endpoint's requests (model servers, or the router before them) and of the Deployment
of the served version."""
GUARDED = "mlops/requests"
"""Label of model servers that accept requests only from their endpoint's router, which verifies the callers."""
SERVERS = {"champion": "model-endpoint", "challenger": "model-challenger", "shadow": "model-shadow"}
"""Value of the label NAME on the Deployments and pods of model servers, by role."""
ROUTERS = "model-router"
"""Value of the label NAME on the Deployment and the pods of an endpoint's router."""
EXPORTER = "mlops-exporter"
"""Name of the exporter of the platform's state, and of its service account in the namespace mlops-platform."""
TRACKING_UI = "mlops/tracking-ui"
"""Annotation of a training job's CronJob: the URL at which people reach MLflow."""
RELEASE = "mlops/release"
"""Annotation of an endpoint's Deployment: the release as JSON (components/endpoint/release.py)."""
PARAMETERS = "PARAMETERS"
"""Environment variable of the training container: the model code's parameters as JSON; `mlops train` replaces it."""
REQUESTER = "REQUESTER"
"""Environment variable of the training container: the user who requested the run; `mlops train` sets it."""
VALIDATION_IMAGE = "VALIDATION_IMAGE"
"""Environment variable of the validation's container: its image, if a version with another recorded image is validated
in that one, by `mlops validate`."""
MODEL_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""Pattern of a registered model's name: the model's endpoint, and its Service, have this name too."""
LONGEST_MODEL_NAME = 63
"""Maximum length of a registered model's name, in characters."""


def validation(training: str) -> str:
    """Return the name of the CronJob that validates a training job's versions; no training job may have this name."""
    return f"{training}-validation"


def drift(endpoint: str) -> str:
    """Return the name of the CronJob that compares an endpoint's requests with the training of its version."""
    return f"{endpoint}-drift"


def drift_account(endpoint: str) -> str:
    """Return the name of the ServiceAccount of an endpoint's drift job."""
    return f"drift-{endpoint}"


def joined_table(endpoint: str) -> str:
    """Return the key in the artifact store's bucket of the table of an endpoint's predictions with their outcomes."""
    return f"{JOINED_TABLES}/{endpoint}/joined.parquet"


def endpoint_url(endpoint: str) -> str:
    """Return the URL of an endpoint in the cluster, without a path."""
    return f"http://{endpoint}.{SERVING}"


def champion_url(endpoint: str) -> str:
    """Return the URL of the served version's pods of an endpoint with a router; without a path, in the cluster."""
    return f"http://{endpoint}-champion.{SERVING}:{SERVING_PORT}"


def selector(name: str, instance: str) -> dict[str, str]:
    """Return the labels by which Services, Deployments and policies select pods; Kubernetes never lets them change."""
    return {NAME: name, INSTANCE: instance}


def matching(labels: Mapping[str, str]) -> str:
    """Return the labels in the format of `kubectl --selector`."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def among(labels: Mapping[str, Sequence[str]]) -> str:
    """Return labels, each with the values that it may have, in the format of `kubectl --selector`."""
    return ",".join(f"{key} in ({','.join(values)})" for key, values in labels.items())


def labels(name: str, instance: str, component: str, **more: str) -> dict[str, str]:
    """Return all labels of an object: the selector's, the component's and `more`, such as version="3"."""
    return {
        **selector(name, instance),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "mlops",
        MANAGED_BY: "pulumi",
        **{f"app.kubernetes.io/{key}": value for key, value in more.items()},
    }
