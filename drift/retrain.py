"""Retraining: after windows in a row with an effect on the model, train it again and propose the new version.

Each call of `step` reads the registry and the cluster, and makes the step that is due. The state is one tag of the
served version, which is written after the step. So a killed call is repeated by the next one, and two calls at once
make the same step: the Job's name follows from the version and its former retraining, and Kubernetes creates only one
Job of a name.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Literal, Protocol

from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, Field, ValidationError

from contract.stages import BROKEN, PASSED, RUNNING
from contract.tags import (
    DRIFT_AT,
    DRIFT_RUN,
    JOB_NAME,
    PROPOSED,
    RETRAIN,
    VALIDATION_RUN,
    VALIDATION_STATUS,
)
from drift import measured, record
from drift.cluster import State
from training.registry import client as versions
from training.registry.client import Client
from training.registry.duplicates import DUPLICATE_OF

NO_REMEDY = (
    "no outcome of these predictions is known: a model that is trained again on drifted data without new labels may be "
    "no remedy"
)


class Jobs(Protocol):
    """Jobs of the cluster."""

    def state(self, job: str) -> State | None:
        """Return the state of a Job; None if there is no such Job."""
        ...

    def train(self, training: str, job: str, version: str) -> None:
        """Create a Job from the template of a training job; an existing Job is kept."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Declaration of the retraining of one endpoint's model."""

    endpoint: str
    """Name of the endpoint."""
    model: str
    """Name of the registered model."""
    version: int
    """Number of the served version."""
    training: str
    """Name of the training job."""
    after: int
    """Number of windows in a row with an effect on the model, after which it is trained again."""
    pause: timedelta
    """Shortest time between the starts of two retrainings of the model."""


Status = Literal["training", "validating", "proposed", "refused", "failed"]


class Retraining(BaseModel):
    """State of a retraining: the tag `retrain` of the version that it shall replace, as JSON."""

    job: str
    """Name of the Kubernetes Job."""
    at: datetime
    """Time at which the Job was created."""
    why: str
    """Reason in words."""
    windows: Annotated[int, Field(ge=0)] = 0
    """Number of windows in a row with an effect on the model."""
    status: Status = "training"
    version: int | None = None
    """Version that the Job registered; None before it did."""
    said: str = ""
    """Result in words; empty before the end."""

    @property
    def is_open(self) -> bool:
        """True before the end."""
        return self.status in ("training", "validating")


def of(version: ModelVersion) -> Retraining | None:
    """Return the last retraining of a version; None if there was none, or the tag has another content."""
    try:
        return Retraining.model_validate_json(version.tags.get(RETRAIN, ""))
    except ValidationError:
        return None


def step(client: Client, jobs: Jobs, plan: Plan, now: datetime) -> str:
    """Make the step of the retraining that is due, and return what was done in one sentence.

    Raises:
        BadInputError: the cluster does not have the training job.
        FailedError: Kubernetes did not answer, or refused the Job.
    """
    served = versions.version(client, plan.model, plan.version)
    current = of(served)
    # A Job registers its version before it ends, so the Job is read before the versions.
    state = jobs.state(current.job) if current and current.is_open else None
    known = versions.versions(client, plan.model)
    if current and current.is_open:
        made = next((one for one in known if one.tags.get(JOB_NAME) == current.job), None)
        return _judge(client, plan, served, made, current) if made else _wait(client, served, current, state)
    why, windows = _reason(served, plan)
    if not why:
        return f"not retrained: {windows} of {plan.after} windows in a row had an effect on the model"
    if waiting := next((one for one in known if _is_proposed(one) and int(one.version) > plan.version), None):
        return f"not retrained although {why}: version {waiting.version} is proposed already"
    last = max((one for version in known if (one := of(version))), key=lambda one: one.at, default=None)
    if last and now < (due := last.at + plan.pause):
        return f"not retrained before {_minute(due)} although {why}: the last Job, {last.job}, began {_minute(last.at)}"
    started = Retraining(job=_name(plan, current), at=now, why=why, windows=windows)
    jobs.train(plan.training, started.job, f"{plan.model} version {plan.version}")
    _write(client, served, started)
    return f"retraining began, because {why}: Job {started.job}"


def _reason(served: ModelVersion, plan: Plan) -> tuple[str, int]:
    """Return the reason to train again, empty if there is none, and the number of windows in a row."""
    windows = record.recorded_windows(served.tags)
    if (outcomes := measured.of(served)) and outcomes.worse:
        return f"outcomes show {', '.join(outcomes.worse)} certainly worse than what the training measured", windows
    if windows >= plan.after:
        counted = "1 window" if windows == 1 else f"{windows} windows in a row"
        return f"{counted} drifted and changed the predictions", windows
    return "", windows


def _wait(client: Client, served: ModelVersion, current: Retraining, state: State | None) -> str:
    """Return the sentence about a retraining without a version, and end it if its Job has ended."""
    if state == "active":
        return f"Job {current.job} trains since {_minute(current.at)}"
    why = {"succeeded": "registered no version", "failed": "failed", None: "was deleted before it registered a version"}
    return _end(client, served, current, "failed", f"Job {current.job} {why[state]}; look at its log")


def _judge(client: Client, plan: Plan, served: ModelVersion, made: ModelVersion, current: Retraining) -> str:
    """Propose the version of a retraining if it passed its validation."""
    current = current.model_copy(update={"version": int(made.version)})
    title = f"version {made.version}"
    if same := made.tags.get(DUPLICATE_OF):
        said = f"{title} repeats version {same}, because the table is the same; give the training job new rows"
        return _end(client, served, current, "refused", said)
    status = made.tags.get(VALIDATION_STATUS, RUNNING)
    if status in (RUNNING, BROKEN):
        _write(client, served, current.model_copy(update={"status": "validating"}))
        broken = f", which could not decide: run mlops validate {plan.model} {made.version}" if status == BROKEN else ""
        return f"{title} is trained, and waits for its validation{broken}"
    if status != PASSED:
        return _end(client, served, current, "refused", f"the validation of {title} says {status}; look at its report")
    client.set_model_version_tag(plan.model, str(made.version), PROPOSED, _evidence(plan, served, made, current))
    said = f"{title} passed its validation and is proposed: `mlops propose {plan.model} --tagged` opens a pull request"
    return _end(client, served, current, "proposed", said)


def _evidence(plan: Plan, served: ModelVersion, made: ModelVersion, current: Retraining) -> str:
    """Return the content of the tag `proposed`, as JSON."""
    outcomes = measured.of(served)
    found: Mapping[str, object] = {
        "by": "drift",
        "endpoint": plan.endpoint,
        "instead_of": plan.version,
        "why": current.why,
        "windows": current.windows,
        "window_end": served.tags.get(DRIFT_AT, ""),
        "drift_run": served.tags.get(DRIFT_RUN, ""),
        "validation_run": made.tags.get(VALIDATION_RUN, ""),
        "job": current.job,
        "outcomes": outcomes.model_dump(mode="json") if outcomes else None,
        "note": "" if outcomes and outcomes.rows else NO_REMEDY,
    }
    return json.dumps(found)


def _is_proposed(version: ModelVersion) -> bool:
    return version.tags.get(PROPOSED, "false") != "false"


def _name(plan: Plan, former: Retraining | None) -> str:
    """Return the name of the Job; it is the same for every call until the registry has the retraining."""
    about = f"{plan.endpoint} {plan.model} {plan.version} {former.job if former else ''}"
    return f"{plan.training}-drift-{sha256(about.encode()).hexdigest()[:10]}"


def _end(client: Client, served: ModelVersion, current: Retraining, status: Status, said: str) -> str:
    _write(client, served, current.model_copy(update={"status": status, "said": said}))
    return said


def _write(client: Client, served: ModelVersion, state: Retraining) -> None:
    client.set_model_version_tag(served.name, str(served.version), RETRAIN, state.model_dump_json())


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
