"""Where programs on this machine find the lab's MLflow and its artifact store, and the keys of the store."""

import json

from lab import paths
from lab.cluster import forward
from lab.errors import LabError

REGION = "us-east-1"
"""Of S3 clients, which need one; the gateway takes any."""


def environment() -> dict[str, str]:
    """For clients of MLflow and of S3. Apart from `lab env`, since it takes the place of a user's own keys of AWS.

    LabError while the two are not reached through ports of this machine.
    """
    urls = forward.urls()
    tracking, store = urls.get("mlflow"), urls.get("s3")
    if tracking is None or store is None:
        raise LabError(
            "MLflow and the artifact store of the lab cannot be reached from here now; start it with: lab up"
        )
    keys = json.loads(paths.secrets().read_text())
    return {
        "AWS_ACCESS_KEY_ID": keys["artifact_store_access_key"],
        "AWS_SECRET_ACCESS_KEY": keys["artifact_store_secret_key"],
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_S3": store,
        "MLFLOW_S3_ENDPOINT_URL": store,
        "MLFLOW_TRACKING_URI": tracking,
    }
