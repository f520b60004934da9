"""Several runs of one Job, each with a point of a sweep, under one parent run; the best of them is registered alone.

The pods know nothing of each other and share only MLflow. The parent keeps what became of each point. Whoever writes
the last one down decides; a parameter of the parent, which MLflow lets nobody change, says who that is.
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
    """One point of a sweep, and how to speak of it to MLflow."""

    plan: SweepPlan
    index: int
    job: str
    model: str
    experiment_id: str
    origin: Mapping[str, str]
    client: MlflowClient
    patiently: mlflow_logging.Patience

    def tags(self) -> Mapping[str, str]:
        """What makes a run one of the sweep's; the parent is there afterwards."""
        return {PARENT: self.patiently(self._parent).info.run_id, "sweep_point": str(self.index)}

    def keep(self, run_id: str, version: Version) -> None:
        """The run has what is registered if it is the best. SettingsError if it lacks the metric that decides."""
        metrics = self.patiently(lambda: self.client.get_run(run_id)).data.metrics
        if self.plan.metric not in metrics:
            raise SettingsError(
                f"the sweep's metric is {self.plan.metric}, and a run has none of that name; write one of "
                + ", ".join(sorted(metrics))
            )
        self.patiently(lambda: self.client.set_tag(run_id, VERSION, json.dumps(asdict(version))))

    def done(self, run_id: str) -> int | None:
        """The point has the run's result. Returns the version if this was the last point, and one was registered."""
        return self.patiently(lambda: self._over(run_id))

    def failed(self, sentence: str) -> int | None:
        """The point has no result and will not get one. Returns as `done` does."""
        return self.patiently(lambda: self._over(f"failed: {sentence}"))

    def _over(self, outcome: str) -> int | None:
        """Written before it is read: of two that end at once, one at least sees both."""
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
            LOG.info("point %d of the sweep is over, %d of %d are not", self.index, left, len(self.plan.points))
            return None
        return self._decide(parents, [outcomes[index] for index in sorted(outcomes)])

    def _decide(self, parents: Sequence[Run], outcomes: Sequence[str]) -> int | None:
        parent, *others = (each.info.run_id for each in parents)
        if not self._is_mine_to_decide(parent):
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
        return self._register(parent, max(runs, key=self._worth), len(runs))

    def _register(self, parent: str, best: Run, of: int) -> int:
        kept = Version(**json.loads(best.data.tags[VERSION]))
        index, value = best.data.tags["sweep_point"], best.data.metrics[self.plan.metric]
        version = replace(
            kept,
            description=f"{kept.description}; the best of {of} points by {self.plan.metric}",
            tags={**kept.tags, "sweep_run": parent},
        )
        number = mlflow_logging.register(self.model, version)
        LOG.info("point %s is the best of %d by %s, %.4f: version %d", index, of, self.plan.metric, value, number)
        self.client.set_tag(best.info.run_id, "best_of_sweep", "true")
        for name, metric in best.data.metrics.items():
            self.client.log_metric(parent, name, metric)
        self.client.set_tag(parent, BEST_RUN, best.info.run_id)
        self.client.set_tag(parent, "best_point", json.dumps(self.plan.points[int(index)]))
        self.client.set_terminated(parent)
        return number

    def _is_mine_to_decide(self, parent: str) -> bool:
        """Of many that ask, one is told yes; and is told so again, should it be started anew."""
        try:
            self.client.log_param(parent, DECIDER, self.index)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            LOG.info("another point of the sweep registers the best")
            return False
        return True

    def _worth(self, run: Run) -> float:
        value = run.data.metrics[self.plan.metric]
        return -math.inf if math.isnan(value) else value if self.plan.goal == "maximize" else -value

    def _parent(self) -> Run:
        """It is made by the first who needs it.

        Two at once can make one each. All look at both, and once all points are over nobody makes another.
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


def of(settings: Settings, plan: SweepPlan, patiently: mlflow_logging.Patience) -> Sweep:
    """The sweep of that plan, in the experiment of the settings."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None:
        raise mlflow_logging.TrackingError(
            f"MLflow has no experiment {settings.experiment} any more; start the job again"
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
