"""Jobs of the cluster that a pod runs in, by the API of Kubernetes and the pod's own token."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from contract import jobs, names
from training.ending import BadInputError, FailedError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder with the pod's token and the CA of the API server."""
SECONDS = 20
"""Timeout in seconds for one request to the API server."""
FOR_VERSION = "mlops/retrain-for"
"""Annotation of a Job: model and version that the trained version shall replace."""

Object = Mapping[str, Any]
"""Object of Kubernetes, as decoded JSON."""
State = Literal["active", "succeeded", "failed"]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Jobs in the namespace of the training jobs."""

    url: str = "https://kubernetes.default.svc"
    """URL of the API server."""
    account: Path = ACCOUNT
    """Folder with the files `token` and `ca.crt`; without `ca.crt`, the CAs of the system are used."""

    def state(self, job: str) -> State | None:
        """Return the state of a Job; None if there is no such Job."""
        found = self._request("GET", f"jobs/{job}")
        if found is None:
            return None
        ended = {one["type"] for one in found.get("status", {}).get("conditions", ()) if one["status"] == "True"}
        return "succeeded" if "Complete" in ended else "failed" if "Failed" in ended else "active"

    def train(self, training: str, job: str, version: str) -> None:
        """Create a Job from the template of a training job, as its schedule would; an existing Job is kept.

        Args:
            training: name of the training job, a CronJob of the cluster.
            job: name of the new Job.
            version: model and version that the trained version shall replace, for people who look at the Job.

        Raises:
            BadInputError: there is no such training job.
        """
        template = self._request("GET", f"cronjobs/{training}")
        if template is None:
            raise BadInputError(
                f"the cluster has no CronJob {training}, so nothing is trained; run pulumi up, which creates one for "
                f"each entry of mlops:training"
            )
        made = jobs.from_cron_job(template, name={"name": job}, made_by="drift", annotations={FOR_VERSION: version})
        self._request("POST", "jobs", made)

    def _request(self, method: str, path: str, body: Object | None = None) -> Object | None:
        """Return the object in the response; None if there is none, or if an object to create exists already."""
        request = urllib.request.Request(
            f"{self.url}/apis/batch/v1/namespaces/{names.TRAINING}/{path}",
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        authority = self.account / "ca.crt"
        context = ssl.create_default_context(cafile=str(authority)) if authority.exists() else None
        expected = HTTPStatus.NOT_FOUND if method == "GET" else HTTPStatus.CONFLICT
        try:
            with urllib.request.urlopen(request, timeout=SECONDS, context=context) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            if error.code == expected:
                return None
            raise FailedError(f"Kubernetes refused {method} {path}: {_message(error)}") from error
        except (OSError, ValueError) as error:
            raise FailedError(f"{method} {path} of Kubernetes failed: {error}; the next run tries again") from error

    @property
    def _token(self) -> str:
        try:
            return (self.account / "token").read_text().strip()
        except OSError as error:
            raise BadInputError(
                f"{self.account}/token cannot be read, so Kubernetes cannot be asked: {error.strerror}; run this "
                "program in the pod of an endpoint's drift job"
            ) from error


def _message(error: urllib.error.HTTPError) -> str:
    """Return the message of the API server, or the status if it sent none."""
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
