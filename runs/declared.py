"""Training jobs as the stack file declares them: the CronJobs that Jobs are made from."""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from contract import names
from runs.cluster import Cluster, Object
from runs.errors import RefusedError
from runs.values import Value, parse

GIVEN = "mlops/given"
"""Annotation of a Job: the values that it has and its declaration has not, as JSON."""


LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A name that is a value of a label: in a selector anything else would be more than a name."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One training job of the stack."""

    template: Object
    """The CronJob."""

    @property
    def name(self) -> str:
        """Its key under mlops:training."""
        return self.template["metadata"]["name"]

    @property
    def tracking_ui(self) -> str:
        """Where people reach MLflow."""
        return self.template["metadata"].get("annotations", {}).get(names.TRACKING_UI, "")

    @cached_property
    def parameters(self) -> Mapping[str, Value]:
        """The values it has in the stack file, those in Secrets apart."""
        return json.loads(self._variables.get(names.PARAMETERS, "{}").replace("$$", "$"))

    def job(self, given: Mapping[str, str], requester: str | None) -> Object:
        """A Job as the schedule would make it, with some values changed.

        Raises:
            RefusedError: a value is of an unknown parameter, or of another type than the declared one.
        """
        values: dict[str, Value] = {}
        for name, text in given.items():
            own = self._named(name)
            if own in values:
                raise RefusedError(f"{own} is given twice; give it once")
            values[own] = self._checked(own, text)
        made = _job(self.template, values)
        variables = {names.PARAMETERS: _literal({**self.parameters, **values})} if values else {}
        if requester:
            variables[names.REQUESTER] = requester
        _set(made["spec"], variables)
        return made

    @property
    def model(self) -> str:
        """The registry's name for what it trains."""
        return self._variables.get("MODEL", "")

    def _named(self, name: str) -> str:
        """The parameter's own spelling, where the case alone is another."""
        alike = [own for own in self.parameters if own.lower() == name.lower()]
        return name if name in alike or len(alike) != 1 else alike[0]

    @property
    def experiment(self) -> str:
        """MLflow's, that its runs tell their results to."""
        return self._variables.get("EXPERIMENT", "")

    def _checked(self, name: str, text: str) -> Value:
        if f"PARAMETER_{name.upper()}" in self._variables:
            raise RefusedError(
                f"{name.lower()} of {self.name} stands in a Secret: change it there, where nobody reads it"
            )
        if name not in self.parameters:
            known, name = sorted(self.parameters), name.lower()
            close = get_close_matches(name, known, 1)
            way_out = (
                f"did you mean {close[0]}?" if close else f"declare it under mlops:training.{self.name}.parameters"
            )
            raise RefusedError(
                f"{name}={text}: {self.name} has no parameter {name}, it has {', '.join(known) or 'none'}; {way_out}"
            )
        if name in self._swept:
            raise RefusedError(f"{name}={text}: {self.name} sweeps {name}, so each point has its own; change the sweep")
        return parse(name, text, self.parameters[name])

    @cached_property
    def _swept(self) -> set[str]:
        points = json.loads(self._variables.get("SWEEP", "{}").replace("$$", "$")).get("points", [])
        return {name for point in points for name in point}

    @cached_property
    def _variables(self) -> Mapping[str, str]:
        (container,) = self.template["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        return {entry["name"]: entry.get("value", "") for entry in container["env"]}


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What looks at the versions of one training job."""

    template: Object
    """The CronJob."""

    @property
    def enabled(self) -> bool:
        """Each new version is looked at, and not only when somebody asks."""
        return not self.template["spec"].get("suspend", False)

    def job(self, version: int) -> Object:
        """A Job as the schedule would make it, that looks at this version and no other."""
        made = _job(self.template, {"version": version})
        (container,) = made["spec"]["template"]["spec"]["containers"]
        container["args"] = [str(version)]
        return made


def find(cluster: Cluster, name: str) -> Declared:
    """The training job of that name. RefusedError if the stack has none."""
    found = {each.name: each for each in all_of(cluster)}
    if name in found:
        return found[name]
    close = get_close_matches(name, found, 1)
    hint = f"did you mean {close[0]}?" if close else "declare it under mlops:training and run pulumi up"
    raise RefusedError(f"there is no training job {name}, there are {', '.join(sorted(found)) or 'none'}; {hint}")


def of_model(cluster: Cluster, model: str) -> list[Declared]:
    """The training jobs of that model. RefusedError if the stack has none."""
    declared = all_of(cluster)
    if found := [each for each in declared if each.model == model]:
        return found
    known = sorted({each.model for each in declared})
    close = get_close_matches(model, known, 1)
    hint = f"did you mean {close[0]}?" if close else "declare one under mlops:training and run pulumi up"
    raise RefusedError(f"no training job is of model {model}, there are some of {', '.join(known) or 'none'}; {hint}")


def all_of(cluster: Cluster) -> list[Declared]:
    """Every training job of the stack."""
    return [Declared(template=item) for item in cluster.items("cronjobs", selector(names.TRAINING_JOBS))]


def validation(cluster: Cluster, training: Declared) -> Validation:
    """What looks at the versions of the training job. RefusedError if the stack has none."""
    for item in cluster.items("cronjobs", selector(names.VALIDATIONS, names.validation(training.name))):
        return Validation(template=item)
    raise RefusedError(
        f"there is no CronJob {names.validation(training.name)}; the stack is older than this checkout: run pulumi up"
    )


def selector(of: Mapping[str, str], instance: str | None = None) -> str:
    """What belongs to all training jobs, or to all validations; or to one of them."""
    if instance and not LABEL.fullmatch(instance):
        raise RefusedError(f"{instance!r} is no name of a training job; write it as under mlops:training")
    return names.matching({**of, names.INSTANCE: instance} if instance else of)


def _job(template: Object, given: Mapping[str, Value]) -> dict[str, Any]:
    """A Job of the CronJob, that somebody made with these values of its own."""
    meta, declared = template["metadata"], template["spec"]["jobTemplate"]
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": meta["name"], "uid": meta["uid"], "controller": True}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "labels": {**declared["metadata"]["labels"], names.MANAGED_BY: "runs"},
            # As of kubectl create job --from: what the controller knows such a Job by.
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual", GIVEN: json.dumps(given)},
            # It goes when the CronJob goes, and its history is as long as that of scheduled runs.
            "ownerReferences": [owner],
        },
        "spec": deepcopy(dict(declared["spec"])),
    }


def _literal(values: Mapping[str, Value]) -> str:
    """JSON as the container shall see it: Kubernetes reads $(NAME) as a variable, and $$ as a dollar."""
    return json.dumps(values, sort_keys=True).replace("$", "$$")


def _set(spec: dict[str, Any], variables: Mapping[str, str]) -> None:
    (container,) = spec["template"]["spec"]["containers"]
    rest = [entry for entry in container["env"] if entry["name"] not in variables]
    container["env"] = [*rest, *({"name": name, "value": value} for name, value in variables.items())]
