"""Jobs that a program creates from a CronJob, as `kubectl create job --from` does."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from contract import names


def from_cron_job(
    template: Mapping[str, Any], *, name: Mapping[str, str], made_by: str, annotations: Mapping[str, str]
) -> dict[str, Any]:
    """Return a Job with the spec of the CronJob's Jobs.

    Args:
        template: the CronJob, as the API server returns it.
        name: `name` or `generateName` of the Job's metadata.
        made_by: value of the Job's label `app.kubernetes.io/managed-by`.
        annotations: annotations of the Job.
    """
    meta, declared = template["metadata"], template["spec"]["jobTemplate"]
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": meta["name"], "uid": meta["uid"], "controller": True}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **name,
            "namespace": meta["namespace"],
            "labels": {**declared["metadata"]["labels"], names.MANAGED_BY: made_by},
            # By the first annotation, the CronJob's controller recognizes a Job that it did not create.
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual", **annotations},
            # Kubernetes deletes the Job with its CronJob, and counts it in the CronJob's history.
            "ownerReferences": [owner],
        },
        "spec": deepcopy(dict(declared["spec"])),
    }
