"""Schedule of a training or validation job."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi_kubernetes as k8s

LATEST_START_SECONDS = 3600
"""Seconds after a start time within which Kubernetes may still start a Job that it has missed."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Settings of a schedule."""

    cron: str
    """Start times, as a cron expression."""
    time_zone: str
    """IANA name of the time zone of `cron`."""
    suspend: bool
    """True: the schedule is paused and starts no Jobs. The CronJob stays as a template."""
    keep_succeeded: int
    """Number of succeeded Jobs that are kept."""
    keep_failed: int
    """Number of failed Jobs that are kept."""


NEVER = Schedule(cron="0 0 1 1 *", time_zone="Etc/UTC", suspend=True, keep_succeeded=10, keep_failed=10)
"""Schedule that starts nothing, for a CronJob that is only the template from which `mlops train` creates Jobs."""


def cron_job(schedule: Schedule, template: k8s.batch.v1.JobTemplateSpecArgsDict) -> k8s.batch.v1.CronJobSpecArgsDict:
    """Return the spec of a CronJob; if a Job is still active at the next start time, that start is skipped."""
    return {
        "schedule": schedule.cron,
        "time_zone": schedule.time_zone,
        "suspend": schedule.suspend,
        "concurrency_policy": "Forbid",
        # Without it, Kubernetes stops a schedule that has missed 100 starts.
        "starting_deadline_seconds": LATEST_START_SECONDS,
        "successful_jobs_history_limit": schedule.keep_succeeded,
        "failed_jobs_history_limit": schedule.keep_failed,
        "job_template": template,
    }
