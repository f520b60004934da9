"""Runs the points of a sweep, one run for each pod of a Job, under one parent run; only the best run is registered.

The pods share nothing but MLflow. Tags of the parent run hold the outcome of each point. The pod that writes the last
outcome registers the best run. A parameter of the parent run, which MLflow does not allow to change, is the lock.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from mlflow.entities import Run, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from contract.tags import BEST_RUN
from training import mlflow_logging
from training.mlflow_logging import Version
from training.registry import filters
from training.settings import Settings, SettingsError, SweepPlan

LOG = logging.getLogger(__name__)
SWEEP, POINT, VERSION, PARENT = "sweep", "point.", "would_be_version", "mlflow.parentRunId"
DECIDER = "decided_by_point"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One point of a sweep, with its access to MLflow."""

    plan: SweepPlan
    index: int
    """Index of this point, from 0."""
    job: str
    """Name of the Kubernetes Job, which all points share."""
    model: str
    """Name under which the best run is registered."""
    experiment_id: str
    origin: Mapping[str, str]
    """Tags that say where the run comes from."""
    client: MlflowClient
    patiently: mlflow_logging.Patience
    """Calls MLflow with retries."""

    def tags(self) -> Mapping[str, str]:
        """Return the tags of this point's run. Creates the parent run if it does not exist."""
        return {PARENT: self.patiently(self._parent).info.run_id, "sweep_point": str(self.index)}

    def keep(self, run_id: str, version: Version) -> None:
        """Store the version in the run; it is registered if the run is the best of the sweep.

        Raises:
            SettingsError: the run lacks the metric of the sweep.
        """
        metrics = self.patiently(lambda: self.client.get_run(run_id)).data.metrics
        if self.plan.metric not in metrics:
            raise SettingsError(
                f"the sweep's metric is {self.plan.metric}, and no run has a metric of that name; write one of "
                + ", ".join(sorted(metrics))
            )
        self.patiently(lambda: self.client.set_tag(run_id, VERSION, json.dumps(asdict(version))))

    def done(self, run_id: str) -> int | None:
        """Record the run as the result of this point.

        Return the number of the new version if this was the last point and a version was registered, else None.
        """
        return self.patiently(lambda: self._record(run_id))

    def failed(self, reason: str) -> int | None:
        """Record that this point failed for good. Return the number of a new version or None, as `done` does."""
        return self.patiently(lambda: self._record(f"failed: {reason}"))

    def _record(self, outcome: str) -> int | None:
        """Write the outcome, then read all: if two points end at once, at least one of them sees both outcomes."""
        self.client.set_tag(self._parent().info.run_id, f"{POINT}{self.index}", outcome)
        parents = self._parents()
        outcomes = {
            int(key.removeprefix(POINT)): value
            for parent in parents
            for key, value in parent.data.tags.items()
            if key.startswith(POINT)
        }
        left = len(self.plan.points) - len(outcomes)
        if left:
            LOG.info(
                "point %d of the sweep has ended; %d of %d points have not",
                self.index,
                left,
                len(self.plan.points),
            )
            return None
        return self._decide(parents, [outcomes[index] for index in sorted(outcomes)])

    def _decide(self, parents: Sequence[Run], outcomes: Sequence[str]) -> int | None:
        parent, *others = (each.info.run_id for each in parents)
        if not self._acquire_lock(parent):
            return None
        for run in self._children(others):
            self.client.set_tag(run.info.run_id, PARENT, parent)
        for other in others:
            self.client.delete_run(other)
        failures = {index: text for index, text in enumerate(outcomes) if text.startswith("failed: ")}
        runs = [self.client.get_run(run_id) for run_id in outcomes if not run_id.startswith("failed: ")]
        note = f"{len(runs)} of {len(outcomes)} points have a result" + "".join(
            f"\n\npoint {index} {text}" for index, text in failures.items()
        )
        self.client.set_tag(parent, "mlflow.note.content", note)
        if not runs:
            self.client.set_terminated(parent, RunStatus.to_string(RunStatus.FAILED))
            return None
        return self._register(parent, max(runs, key=self._score), len(runs))

    def _register(self, parent: str, best: Run, of: int) -> int:
        kept = Version(**json.loads(best.data.tags[VERSION]))
        index, value = best.data.tags["sweep_point"], best.data.metrics[self.plan.metric]
        version = replace(
            kept,
            description=f"{kept.description}; the best of {of} points by {self.plan.metric}",
            tags={**kept.tags, "sweep_run": parent},
        )
        number = mlflow_logging.register(self.model, version)
        LOG.info(
            "point %s is the best of %d by %s, with %.4f: registered as version %d",
            index,
            of,
            self.plan.metric,
            value,
            number,
        )
        self.client.set_tag(best.info.run_id, "best_of_sweep", "true")
        for name, metric in best.data.metrics.items():
            self.client.log_metric(parent, name, metric)
        self.client.set_tag(parent, BEST_RUN, best.info.run_id)
        self.client.set_tag(parent, "best_point", json.dumps(self.plan.points[int(index)]))
        self.client.set_terminated(parent)
        return number

    def _acquire_lock(self, parent: str) -> bool:
        """Acquire the lock. Exactly one point acquires it; if that point restarts, it acquires the same lock again."""
        try:
            self.client.log_param(parent, DECIDER, self.index)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            LOG.info("another point of the sweep registers the best run")
            return False
        return True

    def _score(self, run: Run) -> float:
        value = run.data.metrics[self.plan.metric]
        return -math.inf if math.isnan(value) else value if self.plan.goal == "maximize" else -value

    def _parent(self) -> Run:
        """Return the parent run; create it if there is none.

        Two points that start at once can create one each. All points read both, and `_decide` merges them.
        """
        if not self._parents():
            tags = {"mlflow.runName": self.job, **self.origin, SWEEP: self.job}
            self.client.create_run(self.experiment_id, tags=tags, run_name=self.job)
        return self._parents()[0]

    def _parents(self) -> Sequence[Run]:
        found = self.client.search_runs([self.experiment_id], filters.equal(f"tags.{SWEEP}", self.job))
        return sorted((run for run in found if run.data.tags.get(SWEEP) == self.job), key=lambda run: run.info.run_id)

    def _children(self, parents: Sequence[str]) -> Sequence[Run]:
        return [
            run
            for parent in parents
            for run in self.client.search_runs([self.experiment_id], f"tags.`{PARENT}` = '{parent}'")
        ]


def from_settings(settings: Settings, plan: SweepPlan, patiently: mlflow_logging.Patience) -> Sweep:
    """Return the sweep that the plan describes, in MLflow's experiment from the settings."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None:
        raise mlflow_logging.TrackingError(
            f"the experiment {settings.experiment} was deleted from MLflow during the run; start the job again"
        )
    return Sweep(
        plan=plan,
        index=settings.job_completion_index,
        job=settings.job_name,
        model=settings.model,
        experiment_id=experiment.experiment_id,
        origin=settings.origin,
        client=client,
        patiently=patiently,
    )
