"""Addresses of the lab's MLflow and artifact store for programs on this machine, and the store's keys."""

import json
import os

from contract import names
from lab import paths
from lab.cluster import forward
from lab.errors import LabError
from runs.cluster import Cluster
from runs.errors import ClusterError, RunsError

REGION = "us-east-1"
"""Region for S3 clients, which need one; the gateway accepts any."""
PREDICTION_LOG = f"s3://{names.LOCAL_BUCKET}/predictions"
"""Address of the lab's prediction log."""


def environment() -> dict[str, str]:
    """Return environment variables for clients of MLflow and S3. They replace the user's own AWS keys.

    LabError if no port of this machine is forwarded to them.
    """
    urls = forward.urls()
    tracking, store = urls.get("mlflow"), urls.get("s3")
    if tracking is None or store is None:
        raise LabError(
            "the lab's MLflow and artifact store cannot be reached, because the lab does not run; start it with: lab up"
        )
    keys = json.loads(paths.secrets().read_text())
    return {
        "AWS_ACCESS_KEY_ID": keys["artifact_store_access_key"],
        "AWS_SECRET_ACCESS_KEY": keys["artifact_store_secret_key"],
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_S3": store,
        "MLFLOW_S3_ENDPOINT_URL": store,
        "MLFLOW_TRACKING_URI": tracking,
        **({"MLFLOW_TRACKING_TOKEN": token} if (token := _token()) else {}),
    }


def _token() -> str:
    """Return a token of the account that promotes, as which the lab's user acts; empty if MLflow needs none."""
    environment = {**os.environ, "PATH": f"{paths.binaries()}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        return Cluster(environment=environment | {"KUBECONFIG": str(paths.kubeconfig())}).token(names.PROMOTER)
    except (ClusterError, RunsError) as error:
        raise LabError(f"no token for the lab's MLflow: {error}") from error
