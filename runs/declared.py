"""Training jobs that the stack declares, as CronJobs of the cluster; Jobs are created from them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from contract import jobs, names, script
from contract.parameter_schema import Schema, accepts, words
from runs.cluster import Cluster, Object
from runs.endpoints import Endpoint
from runs.errors import RefusedError
from runs.values import Value, parse

GIVEN = "mlops/given"
"""Annotation of a Job: the values that differ from the declaration, as JSON."""
PARAMETER_SCHEMAS = Path(__file__).parents[1] / "schema" / "parameters.json"
"""File with the parameters of the projects in the platform's training image; `make schema` writes it."""
IMAGE = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
"""Pattern of an image with its digest."""
COMMIT = re.compile(r"[0-9a-f]{40}")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""Pattern of a label value. Other characters would change the meaning of a selector."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Image that a run uses instead of the declared one.

    Raises:
        RefusedError: the image has no digest, or the commit is not the full name of one.
    """

    image: str
    """Name and digest of the image. Example: registry.example.com/training@sha256:..."""
    commit: str | None
    """Git commit that the image was built from, 40 digits; None if it is unknown."""

    def __post_init__(self) -> None:
        if not IMAGE.fullmatch(self.image):
            raise RefusedError(
                f"image {self.image!r} has no digest; another image could have its tag before the pod starts; "
                "write NAME@sha256:DIGEST, as `docker inspect --format '{{index .RepoDigests 0}}' NAME` prints it"
            )
        if self.commit and not COMMIT.fullmatch(self.commit):
            raise RefusedError(
                f"commit {self.commit!r} is not 40 digits; `mlops reproduce` could not find it; "
                "write the output of `git rev-parse HEAD`"
            )


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One training job of the stack."""

    template: Object
    """CronJob of the cluster."""

    @property
    def name(self) -> str:
        """Key under mlops:training."""
        return self.template["metadata"]["name"]

    @property
    def tracking_ui(self) -> str:
        """Address of MLflow for people, as the stack declares it; empty if there is none."""
        return self.template["metadata"].get("annotations", {}).get(names.TRACKING_UI, "")

    @cached_property
    def parameters(self) -> Mapping[str, Value]:
        """Parameters of the stack file, without those that come from Secrets."""
        return json.loads(self._variables.get(names.PARAMETERS, "{}").replace("$$", "$"))

    def job(self, given: Mapping[str, str], requester: str | None, code: Code | None = None) -> Object:
        """Return a Job as the schedule would create it, with some values changed, and with other code if it is given.

        Raises:
            RefusedError: a parameter is unknown, or a value has another type or range than the declared one.
        """
        values: dict[str, Value] = {}
        for name, text in given.items():
            own = self._declared_name(name)
            if own in values:
                raise RefusedError(f"{own} is given twice; write it once")
            values[own] = self._checked(own, text)
        job = _job(self.template, values)
        variables: dict[str, str | None] = {}
        if values:
            variables[names.PARAMETERS] = _literal({**self.parameters, **values})
        if requester:
            variables[names.REQUESTER] = requester
        if self.is_script:
            variables |= {name.upper(): script.parameter(value).replace("$", "$$") for name, value in values.items()}
            known = {"requester": requester, "git_commit": code and code.commit}
            told = {tag: text.replace("$", "$$") for tag, text in known.items() if text}
            variables[script.CONTEXT] = script.run_context(**told)
        if code:
            variables |= {"IMAGE": code.image, "GIT_COMMIT": code.commit}
            job["spec"]["template"]["spec"]["containers"][0]["image"] = code.image
        _set(job["spec"], variables)
        return job

    @property
    def is_script(self) -> bool:
        """True if the runs are those of a team's own script, which registers its model itself."""
        return script.CONTEXT in self._variables

    @property
    def model(self) -> str:
        """Name of the trained model in the registry."""
        return self._variables.get("MODEL", "")

    def _declared_name(self, name: str) -> str:
        """Return the declared spelling of a parameter that is written in another case."""
        alike = [own for own in self.parameters if own.lower() == name.lower()]
        return name if name in alike or len(alike) != 1 else alike[0]

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment of the runs."""
        return self._variables.get("EXPERIMENT", "")

    def _checked(self, name: str, text: str) -> Value:
        if f"PARAMETER_{name.upper()}" in self._variables:
            raise RefusedError(
                f"{name.lower()}: {self.name} reads it from a Secret, because a command line is not secret; "
                "change the Secret"
            )
        if name not in self.parameters:
            known, name = sorted(self.parameters), name.lower()
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"declare it under mlops:training.{self.name}.parameters"
            raise RefusedError(
                f"{name}={text}: {self.name} has no parameter {name}; it has {', '.join(known) or 'none'}; {hint}"
            )
        if name in self._swept:
            raise RefusedError(
                f"{name}={text}: {self.name} sweeps {name}, so each point has its own value; change the sweep"
            )
        value = parse(name, text, self.parameters[name])
        if (one := self._schema.get("properties", {}).get(name)) and not accepts(
            one, value, self._schema.get("$defs", {})
        ):
            because = f"it is the {one['description']}" if "description" in one else "the project declares this type"
            raise RefusedError(f"{name}={text}: must be {words(one)}, because {because}; the run would fail at once")
        return value

    @cached_property
    def _schema(self) -> Schema:
        """Schema of the parameters in this checkout; empty for code of another image or an unknown project.

        Only the platform's own image has a commit.
        """
        if "GIT_COMMIT" not in self._variables or "command" in self._container or not PARAMETER_SCHEMAS.is_file():
            return {}
        return json.loads(PARAMETER_SCHEMAS.read_text()).get(self._variables.get("PROJECT", "").replace("-", "_"), {})

    @cached_property
    def _swept(self) -> set[str]:
        points = json.loads(self._variables.get("SWEEP", "{}").replace("$$", "$")).get("points", [])
        return {name for point in points for name in point}

    @cached_property
    def _variables(self) -> Mapping[str, str]:
        return {entry["name"]: entry.get("value", "") for entry in self._container["env"]}

    @property
    def _container(self) -> Mapping[str, Any]:
        (container,) = self.template["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        return container


@dataclass(frozen=True, kw_only=True)
class Validation:
    """CronJob that validates the versions of one training job."""

    template: Object
    """CronJob of the cluster."""

    @property
    def enabled(self) -> bool:
        """True if each new version is validated, False if only on request."""
        return not self.template["spec"].get("suspend", False)

    @property
    def standard_image(self) -> str:
        """Image of versions without a recorded one; empty if the declared image validates every version."""
        return next((entry["value"] for entry in self._container["env"] if entry["name"] == names.VALIDATION_IMAGE), "")

    @property
    def _container(self) -> Mapping[str, Any]:
        (container,) = self.template["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        return container

    def job(self, version: int, endpoint: Endpoint | None = None, image: str = "") -> Object:
        """Return a Job as the schedule would create it, for this version only.

        Args:
            version: number of the version.
            endpoint: endpoint that is tested too; None for no endpoint.
            image: image with the packages of the version; empty for the declared one.
        """
        job = _job(self.template, {"version": version, **({"endpoint": endpoint.name} if endpoint else {})})
        (container,) = job["spec"]["template"]["spec"]["containers"]
        # An argument and not a variable, so that the code of an older training image refuses it and does not ignore it.
        container["args"] = [str(version), *(["--endpoint", endpoint.url] if endpoint else [])]
        container["image"] = image or container["image"]
        return job


def find(cluster: Cluster, name: str) -> Declared:
    """Return the training job of that name. RefusedError if the stack has none."""
    found = {each.name: each for each in all_of(cluster)}
    if name in found:
        return found[name]
    close = get_close_matches(name, found, 1)
    hint = f"did you mean {close[0]}?" if close else "declare it under mlops:training and run pulumi up"
    raise RefusedError(f"there is no training job {name}; the stack has {', '.join(sorted(found)) or 'none'}; {hint}")


def of_model(cluster: Cluster, model: str) -> list[Declared]:
    """Return the training jobs of that model. RefusedError if the stack has none."""
    declared = all_of(cluster)
    if found := [each for each in declared if each.model == model]:
        return found
    known = sorted({each.model for each in declared})
    close = get_close_matches(model, known, 1)
    hint = f"did you mean {close[0]}?" if close else "declare one under mlops:training and run pulumi up"
    raise RefusedError(
        f"no training job trains model {model}; there are jobs for {', '.join(known) or 'no model'}; {hint}"
    )


def all_of(cluster: Cluster) -> list[Declared]:
    """Return every training job of the stack."""
    return [Declared(template=item) for item in cluster.items("cronjobs", selector(names.TRAINING_JOBS))]


def validation(cluster: Cluster, training: Declared) -> Validation:
    """Return the validation of the training job. RefusedError if the stack has none."""
    for item in cluster.items("cronjobs", selector(names.VALIDATIONS, names.validation(training.name))):
        return Validation(template=item)
    raise RefusedError(
        f"there is no CronJob {names.validation(training.name)}: an older checkout deployed the stack; run pulumi up"
    )


def selector(of: Mapping[str, str], instance: str | None = None) -> str:
    """Return the label selector for all objects with the labels, or for those of one instance."""
    if instance and not LABEL.fullmatch(instance):
        raise RefusedError(
            f"{instance!r} is not the name of a training job, which has lower-case letters, digits and hyphens only; "
            "write a key of mlops:training"
        )
    return names.matching({**of, names.INSTANCE: instance} if instance else of)


def _job(template: Object, given: Mapping[str, Value]) -> dict[str, Any]:
    """Return a Job of the CronJob, with an annotation for the given values."""
    name = {"generateName": f"{template['metadata']['name']}-"}
    return jobs.from_cron_job(template, name=name, made_by="runs", annotations={GIVEN: json.dumps(given)})


def _literal(values: Mapping[str, Value]) -> str:
    """Return JSON with `$` escaped: Kubernetes replaces $(NAME) in a value with a variable, and $$ with a dollar."""
    return json.dumps(values, sort_keys=True).replace("$", "$$")


def _set(spec: dict[str, Any], variables: Mapping[str, str | None]) -> None:
    """Set variables of the container; None removes one."""
    (container,) = spec["template"]["spec"]["containers"]
    rest = [entry for entry in container["env"] if entry["name"] not in variables]
    new = [{"name": name, "value": value} for name, value in variables.items() if value is not None]
    # A value may refer to variables before it; that of MLFLOW_RUN_CONTEXT does.
    order = [*rest, *new]
    container["env"] = sorted(order, key=lambda entry: entry["name"] == script.CONTEXT)
