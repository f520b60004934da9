"""Releases that the stack's own state records: what each endpoint serves, and what it has served before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pulumi

from components.endpoint import release
from components.endpoint.release import Files, Release

READ_STATE = "pulumi:pulumi:readStackResourceOutputs"
"""Function of the engine that returns the outputs of all resources in the state of a stack."""
ENDPOINT = "mlops:index:ModelEndpoint"
DEPLOYMENT = "$kubernetes:apps/v1:Deployment"
VERSION = "app.kubernetes.io/version"
SERVER = "mlops:index:MlflowServer"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Releases in the state of a stack."""

    served: Mapping[str, Release] = field(default_factory=dict[str, Release])
    """Release that each endpoint has now, by name; it may have failed."""
    history: Mapping[str, tuple[Release, ...]] = field(default_factory=dict[str, tuple[Release, ...]])
    """Successful releases of each endpoint, by name, the oldest first."""
    has_tracking: bool = False
    """True if the stack has an MLflow server."""

    def past(self, name: str) -> tuple[Release, ...]:
        """Return the successful releases of an endpoint, the oldest first.

        A former program kept no history; its present release, which has no source, counts as successful.
        """
        served = self.served.get(name)
        return self.history.get(name) or ((served,) if served and not served.source else ())

    def files(self, name: str, model: str, version: int, digest: str) -> Files | None:
        """Return the files with which the endpoint serves the version or served it last; None if it never did."""
        served = self.served.get(name)
        known = [*([served] if served else ()), *reversed(self.past(name))]
        return next((one.files for one in known if one.source and one.has(model, version, digest)), None)


async def read() -> Recorded:
    """Return the releases in the state of the stack that runs; the engine reads its state once more."""
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    found = cast("Mapping[str, Any]", await pulumi.runtime.invoke_async(READ_STATE, {"stackName": stack}) or {})
    return parse(found.get("outputs") or {})


def parse(resources: Mapping[str, Mapping[str, Any]]) -> Recorded:
    """Return the releases in the outputs of resources, which are listed by URN."""
    served, history, has_tracking = dict[str, Release](), dict[str, tuple[Release, ...]](), False
    for urn, resource in resources.items():
        *_, types, name = urn.split("::")
        outputs: Mapping[str, Any] = resource.get("outputs") or {}
        if types.endswith(ENDPOINT):
            history[name] = release.parsed(outputs.get("releases") or ())
        elif types.endswith(ENDPOINT + DEPLOYMENT) and (now := _served(name, outputs.get("metadata") or {})):
            served[name] = now
        has_tracking = has_tracking or types.endswith(SERVER + DEPLOYMENT)
    return Recorded(served=served, history=history, has_tracking=has_tracking)


def _served(name: str, metadata: Mapping[str, Any]) -> Release | None:
    """Return the release of a Deployment. One of a former program has no annotation, and its model has its name."""
    labels: Mapping[str, str] = metadata.get("labels") or {}
    number = labels.get(VERSION, "")
    former = Release(model=name, version=int(number)) if number.isdecimal() else None
    return release.served(metadata.get("annotations")) or former
