import os
from pathlib import Path

from serving.cpus import cpu_limit


def test_a_limit_in_the_newer_control_groups_is_rounded_up(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert cpu_limit(tmp_path) == 1


def test_a_limit_in_the_older_control_groups_counts(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cpu_limit(tmp_path) == 1


def test_without_a_limit_all_cpus_of_the_process_count(tmp_path: Path) -> None:
    everything = len(os.sched_getaffinity(0))
    assert cpu_limit(tmp_path) == everything
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cpu_limit(tmp_path) == everything


def test_a_limit_over_the_machine_is_the_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("6400000 100000\n")
    assert cpu_limit(tmp_path) == len(os.sched_getaffinity(0))
