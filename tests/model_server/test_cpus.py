import os
from pathlib import Path

import pytest

from model_server.cpus import cpu_limit

CPUS = 8


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scheduler offer eight CPUs to the process."""

    def eight(_process: int) -> set[int]:
        return set(range(CPUS))

    monkeypatch.setattr(os, "sched_getaffinity", eight)


LIMITS = [("10000", 1), ("100000", 1), ("110000", 2), ("250000", 3), ("6400000", CPUS)]


@pytest.mark.parametrize(("quota", "cpus"), [*LIMITS, ("max", CPUS)])
def test_a_limit_of_cgroup_v2_is_rounded_up_and_is_never_more_than_the_machine(
    tmp_path: Path, quota: str, cpus: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
    assert cpu_limit(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [*LIMITS, ("-1", CPUS)])
def test_a_limit_of_cgroup_v1_is_rounded_up_and_is_never_more_than_the_machine(
    tmp_path: Path, quota: str, cpus: int
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cpu_limit(tmp_path) == cpus


def test_without_cgroups_all_cpus_of_the_process_count(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path) == CPUS
