"""Releases that the stack's own state records: what each endpoint serves, and what it has served before.

A challenger, a shadow and a batch count as an endpoint here, by the names that `Settings.releases` has; the state knows
only their present release.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pulumi

from components import rollout
from components.endpoint import experiments, release
from components.endpoint.experiments import Experiment
from components.endpoint.release import Files, Release
from contract import names

READ_STATE = "pulumi:pulumi:readStackResourceOutputs"
"""Function of the engine that returns the outputs of all resources in the state of a stack."""
ENDPOINT = "mlops:index:ModelEndpoint"
DEPLOYMENT = "$kubernetes:apps/v1:Deployment"
BATCH = "mlops:index:BatchJob$kubernetes:batch/v1:CronJob"
ARMS = ("challenger", "shadow")
"""Ends of the names of the Deployments of an endpoint's other versions."""
SERVER = "mlops:index:MlflowServer"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Releases in the state of a stack."""

    served: Mapping[str, Release] = field(default_factory=dict[str, Release])
    """Release that each endpoint has now, by name; it may have failed."""
    history: Mapping[str, tuple[Release, ...]] = field(default_factory=dict[str, tuple[Release, ...]])
    """Successful releases of each endpoint, by name, the oldest first."""
    experiments: Mapping[str, tuple[Experiment, ...]] = field(default_factory=dict[str, tuple[Experiment, ...]])
    """Experiments of each endpoint, by name, the oldest first."""
    complete: frozenset[str] = frozenset()
    """Endpoints whose Deployment has rolled out its present release completely."""
    has_tracking: bool = False
    """True if the stack has an MLflow server."""

    def past(self, name: str) -> tuple[Release, ...]:
        """Return the successful releases of an endpoint, the oldest first.

        A former program kept no history; its present release, which has no source, counts as successful. An update
        that fails elsewhere may not have written the history; a version that it rolled out counts too, unless the
        history knows other files of it: then a person changed the Deployment in the cluster.
        """
        served, history = self.served.get(name), self.history.get(name, ())
        if served is None or not served.source:
            return history or ((served,) if served else ())
        known = {one.files for one in history if (one.model, one.version) == (served.model, served.version)}
        is_new = name in self.complete and not (history and _is_same(history[-1], served))
        return (*history, served) if is_new and served.files in (known or {served.files}) else history

    def succeeded(self, name: str) -> Release | None:
        """Return the last release of an endpoint whose pods became ready; before the first, the one that it has."""
        past = self.past(name)
        return past[-1] if past else self.served.get(name)

    def is_unfinished(self, name: str) -> bool:
        """Return whether the pods of the present release of an endpoint did not become ready in the last update."""
        served, last = self.served.get(name), self.succeeded(name)
        return bool(served and last and not _is_same(served, last)) or not self.past(name)

    def known(self, name: str) -> list[Release]:
        """Return the releases of an endpoint in the state: the successful ones, the latest first, and the present one.

        The history comes first, because a refresh changes the present release to what the cluster has.
        """
        served = self.served.get(name)
        return [*reversed(self.past(name)), *([served] if served else ())]

    def files(self, name: str, model: str, version: int, digest: str) -> Files | None:
        """Return the files with which the endpoint ran the version last; None if it never did.

        A challenger that is promoted has the files that it had as a challenger.
        """
        known = [one for each in (name, *(f"{name}-{role}" for role in ARMS)) for one in self.known(each)]
        return next((one.files for one in known if one.source and one.has(model, version, digest)), None)


def _is_same(one: Release, other: Release) -> bool:
    return one.has(other.model, other.version, other.digest)


async def read() -> Recorded:
    """Return the releases in the state of the stack that runs; the engine reads its state once more."""
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    found = cast("Mapping[str, Any]", await pulumi.runtime.invoke_async(READ_STATE, {"stackName": stack}) or {})
    return parse(found.get("outputs") or {})


def parse(resources: Mapping[str, Mapping[str, Any]]) -> Recorded:
    """Return the releases in the outputs of resources, which are listed by URN."""
    served, history, complete = dict[str, Release](), dict[str, tuple[Release, ...]](), set[str]()
    has_tracking, tried = False, dict[str, tuple[Experiment, ...]]()
    for urn, resource in resources.items():
        *_, types, name = urn.split("::")
        outputs: Mapping[str, Any] = resource.get("outputs") or {}
        if types.endswith(ENDPOINT):
            history[name] = release.parsed(outputs.get("releases") or ())
            tried[name] = experiments.parsed(outputs.get("experiments") or ())
        elif types.endswith(ENDPOINT + DEPLOYMENT) and (now := _served(name, outputs.get("metadata") or {})):
            served[name] = now
            complete |= {name} if _is_complete(outputs) else set()
        elif types.endswith(BATCH) and (now := _served(name, outputs.get("metadata") or {})):
            served[name] = now
            complete.add(name)
        has_tracking = has_tracking or types.endswith(SERVER + DEPLOYMENT)
    return Recorded(
        served=served, history=history, experiments=tried, complete=frozenset(complete), has_tracking=has_tracking
    )


def _is_complete(deployment: Mapping[str, Any]) -> bool:
    """Return whether Kubernetes has replaced all pods of the Deployment since its last change."""
    return "generation" in (deployment.get("metadata") or {}) and rollout.is_complete(deployment)


def _served(name: str, metadata: Mapping[str, Any]) -> Release | None:
    """Return the release of a Deployment. One of a former program has no annotation, and its model has its name."""
    labels: Mapping[str, str] = metadata.get("labels") or {}
    number = labels.get(names.VERSION, "")
    former = Release(model=name, version=int(number)) if number.isdecimal() else None
    return release.served(metadata.get("annotations")) or former
