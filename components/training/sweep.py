"""Sweep of a training job: several runs with different parameters, of which the best is registered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import pulumi_kubernetes as k8s

Scalar = str | float | bool


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Settings of a sweep."""

    points: Sequence[Mapping[str, Scalar]]
    """Parameters of each run that differ from the training job's."""
    max_parallel: int
    """Largest number of runs at the same time."""
    metric: str
    """Metric by which the runs are compared."""
    goal: str
    """Direction of the metric: `maximize` if a larger value is better, `minimize` if a smaller one is."""

    @property
    def waves(self) -> int:
        """Number of rounds in which all points run, `max_parallel` at a time."""
        return ceil(len(self.points) / self.max_parallel)


def index(job: k8s.batch.v1.JobSpecArgsDict, sweep: Sweep, retries: int) -> None:
    """Make `job` an indexed Job with one pod for each point; each point has its own retries."""
    job["completion_mode"] = "Indexed"
    job["completions"] = len(sweep.points)
    job["parallelism"] = min(sweep.max_parallel, len(sweep.points))
    job["backoff_limit_per_index"] = retries


def as_json(sweep: Sweep, retries: int) -> str:
    """Return JSON for training/fit/sweep.py; Kubernetes sets JOB_COMPLETION_INDEX, the index of the pod's point."""
    return json.dumps(
        {"points": sweep.points, "metric": sweep.metric, "goal": sweep.goal, "retries": retries}, sort_keys=True
    )
