"""The command line of the lab: arguments and error messages."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cli.main import run

LAB = Path(sys.executable).parent / "lab"


@pytest.fixture
def folders(tmp_path: Path) -> Mapping[str, str]:
    return {
        "HOME": str(tmp_path),
        "LAB_STATE": str(tmp_path / "state"),
        "LAB_CACHE": str(tmp_path / "cache"),
        "PATH": "/usr/bin:/bin",
    }


def lab(folders: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAB, *arguments], env=folders, capture_output=True, text=True, check=False)


def test_a_tool_that_is_not_there_yet_is_one_line_with_the_command_that_installs_it(folders: Mapping[str, str]) -> None:
    done = lab(folders, "pulumi", "preview")
    assert done.returncode == 1
    assert done.stderr.startswith("lab: pulumi is not on PATH ")
    assert done.stderr.endswith("get it with: lab tools\n")
    assert "Traceback" not in done.stderr


def test_arguments_reach_the_program_untouched(folders: Mapping[str, str]) -> None:
    bin_folder = Path(folders["LAB_CACHE"]) / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "pulumi").write_text('#!/bin/sh\nfor given in "$@"; do echo "[$given]"; done\nexit 7\n')
    (bin_folder / "pulumi").chmod(0o755)
    given = ["--help", "-n", "a b", "--", "--wipe", "-f"]
    mlops = [LAB.with_name("mlops"), "lab", "pulumi", *given]
    for done in (
        lab(folders, "pulumi", *given),
        subprocess.run(mlops, env=folders, capture_output=True, text=True, check=False),
    ):
        assert done.stdout.splitlines() == [f"[{each}]" for each in given]
        assert done.returncode == 7


def test_drift_is_what_a_preview_of_the_labs_own_stack_finds(folders: Mapping[str, str]) -> None:
    bin_folder = Path(folders["LAB_CACHE"]) / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "pulumi").write_text("""#!/bin/sh\necho "$PULUMI_BACKEND_URL $@" >&2; echo '{"steps": []}'\n""")
    (bin_folder / "pulumi").chmod(0o755)
    done = lab(folders, "drift")
    assert (done.returncode, done.stdout) == (0, "no differences: the cluster is as the stack says\n")
    (bin_folder / "pulumi").write_text("""#!/bin/sh\necho "$PULUMI_BACKEND_URL $@" >&2; exit 1\n""")
    failed = lab(folders, "drift", "--json")
    assert failed.returncode == 1
    assert f"failed with exit code 1: file://{folders['LAB_STATE']}" in failed.stderr
    assert "preview --refresh --json --show-sames --non-interactive --stack local" in failed.stderr


def test_a_dry_run_says_what_would_be_done_and_does_nothing(folders: Mapping[str, str]) -> None:
    done = lab({**folders, "PATH": os.environ["PATH"]}, "up", "--dry-run")
    tools = next(line for line in done.stdout.splitlines() if line.startswith("build into"))
    assert {"kube", "containerd", "versitygw"} <= set(tools.partition(": ")[2].split(", "))
    assert "start in" in done.stdout
    assert not Path(folders["LAB_STATE"]).exists()
    assert not Path(folders["LAB_CACHE"]).exists()


def test_status_without_a_lab_says_how_to_make_one(folders: Mapping[str, str]) -> None:
    assert lab(folders, "status").stdout == "there is no cluster; start one with: lab up\n"


def test_a_program_reads_that_there_is_no_lab(folders: Mapping[str, str]) -> None:
    assert json.loads(lab(folders, "status", "--json").stdout) == {"processes": [], "services": {}, "memory_bytes": 0}


def test_a_log_that_is_not_there_names_those_that_are(folders: Mapping[str, str]) -> None:
    logs = Path(folders["LAB_STATE"]) / "logs"
    logs.mkdir(parents=True)
    (logs / "etcd.log").write_text("first\nlast\n")
    assert lab(folders, "logs", "etcd").stdout == "first\nlast\n"
    assert lab(folders, "logs", "kublet").stderr == "lab: there is no log of a process kublet; write one of: etcd\n"


def test_env_prints_what_a_shell_can_evaluate(folders: Mapping[str, str]) -> None:
    told = lab(folders, "env").stdout
    seen = subprocess.run(
        ["/bin/sh", "-euc", f'{told}\necho "$PULUMI_BACKEND_URL"'], capture_output=True, text=True, check=True
    )
    assert seen.stdout.startswith(f"file://{folders['LAB_STATE']}/pulumi?")


def test_a_wrong_option_is_refused_and_help_is_named(folders: Mapping[str, str]) -> None:
    done = lab(folders, "down", "--purge")
    assert done.returncode == 2
    assert "lab down --help" in done.stderr


def test_an_interrupted_up_says_how_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.up.up", interrupted)
    assert run(["up"], program="lab") == 130
    assert capsys.readouterr().err == "lab: interrupted; what is done stays done, and `lab up` continues from here\n"


def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/cache/image.tar")

    monkeypatch.setattr("lab.up.up", full)
    assert run(["up"], program="lab") == 1
    assert (
        capsys.readouterr().err
        == "lab: the disk is full (/cache/image.tar); free some space and run the command again\n"
    )
