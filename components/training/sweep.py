"""Several runs of one training job, each with other parameters, of which the best is registered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import pulumi_kubernetes as k8s

Scalar = str | float | bool


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Each point replaces some parameters. The best is the one whose `metric` is greatest, or least, by `goal`."""

    points: Sequence[Mapping[str, Scalar]]
    max_parallel: int
    metric: str
    goal: str

    @property
    def waves(self) -> int:
        """How often a free place has to be waited for."""
        return ceil(len(self.points) / self.max_parallel)


def index(job: k8s.batch.v1.JobSpecArgsDict, sweep: Sweep, retries: int) -> None:
    """Makes it a Job of one pod a point, `max_parallel` of them at once; each point has its own retries."""
    job["completion_mode"] = "Indexed"
    job["completions"] = len(sweep.points)
    job["parallelism"] = min(sweep.max_parallel, len(sweep.points))
    job["backoff_limit_per_index"] = retries


def told(sweep: Sweep, retries: int) -> str:
    """JSON of the sweep for training/fit/sweep.py. Kubernetes sets JOB_COMPLETION_INDEX, the index of a pod's point."""
    return json.dumps(
        {"points": sweep.points, "metric": sweep.metric, "goal": sweep.goal, "retries": retries}, sort_keys=True
    )
