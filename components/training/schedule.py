"""When a training run starts by itself."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi_kubernetes as k8s

LATEST_START_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """`cron` in `time_zone`; `keep_succeeded` and `keep_failed` are how many ended Jobs stay to be looked at."""

    cron: str
    time_zone: str
    suspend: bool
    keep_succeeded: int
    keep_failed: int


NEVER = Schedule(cron="0 0 1 1 *", time_zone="Etc/UTC", suspend=True, keep_succeeded=10, keep_failed=10)
"""Of a training job without a schedule: its CronJob is only the template that `mlops train` makes Jobs from."""


def cron_job(schedule: Schedule, template: k8s.batch.v1.JobTemplateSpecArgsDict) -> k8s.batch.v1.CronJobSpecArgsDict:
    """One Job at a time: a run that is late for the next one's start makes that one not happen."""
    return {
        "schedule": schedule.cron,
        "time_zone": schedule.time_zone,
        "suspend": schedule.suspend,
        "concurrency_policy": "Forbid",
        # Without it, a controller that was away for a hundred starts would give the schedule up.
        "starting_deadline_seconds": LATEST_START_SECONDS,
        "successful_jobs_history_limit": schedule.keep_succeeded,
        "failed_jobs_history_limit": schedule.keep_failed,
        "job_template": template,
    }
