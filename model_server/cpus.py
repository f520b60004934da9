"""Number of CPUs that this process may use."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cpu_limit(cgroups: Path = CGROUPS) -> int:
    """Return the container's CPU limit, rounded up, or the number of available CPUs if that is lower. At least 1."""
    available = len(os.sched_getaffinity(0))
    quota, period = _version_2(cgroups / "cpu.max") or _version_1(cgroups / "cpu") or (0, 1)
    return max(1, min(available, math.ceil(quota / period))) if quota > 0 else available


def _version_2(file: Path) -> tuple[int, int] | None:
    if not file.exists():
        return None
    quota, period = file.read_text().split()
    return (0, 1) if quota == "max" else (int(quota), int(period))


def _version_1(folder: Path) -> tuple[int, int] | None:
    quota = folder / "cpu.cfs_quota_us"
    if not quota.exists():
        return None
    return int(quota.read_text()), int((folder / "cpu.cfs_period_us").read_text())
