"""Addresses of the lab's MLflow and artifact store for programs on this machine, and the store's keys."""

import json
import os

import httpx

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
        **({"MLFLOW_TRACKING_TOKEN": _token()} if _asks_for_a_token(tracking) else {}),
    }


def _asks_for_a_token(tracking: str) -> bool:
    try:
        response = httpx.get(f"{tracking}/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"}, timeout=5)
    except httpx.HTTPError:
        return False  # the command itself says that MLflow does not respond
    return response.status_code == httpx.codes.UNAUTHORIZED.value


def _token() -> str:
    """Return a token of the account that promotes, as which the lab's user acts."""
    environment = {**os.environ, "PATH": f"{paths.binaries()}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        return Cluster(environment=environment | {"KUBECONFIG": str(paths.kubeconfig())}).token(names.PROMOTER)
    except (ClusterError, RunsError) as error:
        raise LabError(f"no token for the lab's MLflow: {error}") from error
