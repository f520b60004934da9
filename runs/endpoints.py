"""Endpoints of the stack, as Deployments of the cluster."""

import json
from dataclasses import dataclass
from difflib import get_close_matches

from contract import names
from runs.cluster import Cluster, Object
from runs.errors import RefusedError


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One endpoint of the stack."""

    deployment: Object
    """Deployment of the cluster."""

    @property
    def name(self) -> str:
        """Key under mlops:endpoints."""
        return self.deployment["metadata"]["name"]

    @property
    def model(self) -> str:
        """Name of the served model; a Deployment of an older checkout does not state it, and has the model's name."""
        release = self.deployment["metadata"].get("annotations", {}).get(names.RELEASE, "{}")
        return json.loads(release).get("model", self.name)

    @property
    def url(self) -> str:
        """URL at which a validation reaches the endpoint: that of its pods if its router asks for tokens."""
        labels = self.deployment["spec"]["template"]["metadata"].get("labels", {})
        return names.champion_url(self.name) if names.GUARDED in labels else names.endpoint_url(self.name)

    @property
    def version(self) -> int:
        """Number of the version that the stack released last."""
        return int(self.deployment["metadata"]["labels"][names.VERSION])

    @property
    def prediction_log(self) -> str:
        """Address of the bucket of the prediction log, as s3://BUCKET.

        Raises:
            RefusedError: the endpoint writes no prediction log.
        """
        pod = self.deployment["spec"]["template"]["spec"]
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            variables = {one["name"]: one.get("value", "") for one in container.get("env", ())}
            if container["name"] == "ship" and (bucket := variables.get("ARTIFACT_BUCKET")):
                return f"s3://{bucket}"
        raise RefusedError(
            f"endpoint {self.name} writes no prediction log, so there is nothing to read; write prediction_log: {{}} "
            f"under mlops:endpoints.{self.name} and run pulumi up"
        )


def find(cluster: Cluster, name: str) -> Endpoint:
    """Return the endpoint of that name. RefusedError if the cluster has none."""
    deployments = cluster.items("deployments", names.matching(names.ENDPOINTS), namespace=names.SERVING)
    found = {each.name: each for each in (Endpoint(deployment=one) for one in deployments)}
    if name in found:
        return found[name]
    close = get_close_matches(name, found, 1)
    hint = f"did you mean {close[0]}?" if close else "declare it under mlops:endpoints and run pulumi up"
    raise RefusedError(f"there is no endpoint {name}; the stack has {', '.join(sorted(found)) or 'none'}; {hint}")


def find_serving(cluster: Cluster, name: str, model: str | None, version: int | None) -> Endpoint:
    """Return the endpoint of that name. RefusedError if it serves another model or version than a given one."""
    endpoint = find(cluster, name)
    command = f"mlops validate {endpoint.model} {endpoint.version} --endpoint {name}"
    if model not in (None, endpoint.model):
        raise RefusedError(f"endpoint {name} serves model {endpoint.model}, not {model}; write {command}")
    if version not in (None, endpoint.version):
        raise RefusedError(
            f"endpoint {name} serves version {endpoint.version} of {endpoint.model}, so version {version} cannot be "
            f"tested there; write version: {version} under mlops:endpoints.{name} and run pulumi up, or write {command}"
        )
    return endpoint
