"""`.ci/setup`: the Pulumi CLI that a job of CI gets."""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.projects import CHECKOUT

VERSION = "3.0.0"
ARCHIVE = "pulumi-v3.0.0-linux-x64.tar.gz"
CURL = """#!/bin/sh
# Stands for curl: copies the file that the end of each address names.
while [ $# -gt 0 ]; do
  case $1 in
    --output-dir) into=$2; shift ;;
    https://*) echo "$1" >> requests; cp "served/${1##*/}" "$into/" || exit 22 ;;
  esac
  shift
done
"""
PULUMI = "#!/bin/sh\necho v{}\n"


@dataclass(frozen=True)
class Machine:
    folder: Path

    def program(self, name: str, text: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(text)
        file.chmod(0o755)

    def set_up(self) -> subprocess.CompletedProcess[str]:
        """Run the script; GitHub's file with folders for PATH is `path`."""
        return subprocess.run(
            [".ci/setup"],
            cwd=self.folder,
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "GITHUB_PATH": str(self.folder / "path")},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def requests(self) -> list[str]:
        file = self.folder / "requests"
        return file.read_text().split() if file.exists() else []

    @property
    def installed(self) -> Path:
        return self.folder / ".venv/bin/pulumi"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    for folder in (".ci", "bin", "served"):
        (tmp_path / folder).mkdir()
    shutil.copy(CHECKOUT / ".ci/setup", tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text(f'dependencies = [\n  "pulumi=={VERSION}",\n]\n')
    (tmp_path / "Makefile").write_text(".venv/.ready:\n\tmkdir -p .venv/bin\n")
    made.program("uname", "#!/bin/sh\necho x86_64\n")
    made.program("curl", CURL)
    made.program("pulumi", PULUMI.format("2.9.9"))
    with tarfile.open(tmp_path / "served" / ARCHIVE, "w:gz") as archive:
        member = tarfile.TarInfo("pulumi/pulumi")
        member.mode, member.size = 0o755, len(PULUMI.format(VERSION))
        archive.addfile(member, io.BytesIO(PULUMI.format(VERSION).encode()))
    digest = hashlib.sha512((tmp_path / "served" / ARCHIVE).read_bytes()).hexdigest()
    (tmp_path / "served/SHA512SUMS").write_text(f"{'0' * 128}  other.tar.gz\n{digest}  {ARCHIVE}\n")
    return made


def test_a_job_gets_the_engine_of_the_sdk_s_version(machine: Machine) -> None:
    assert machine.set_up().returncode == 0
    assert subprocess.run([machine.installed], capture_output=True, text=True, check=True).stdout == "v3.0.0\n"
    assert machine.requests == [
        f"https://get.pulumi.com/releases/sdk/{ARCHIVE}",
        "https://github.com/pulumi/pulumi/releases/download/v3.0.0/SHA512SUMS",
    ]
    assert (machine.folder / "path").read_text() == f"{machine.folder}/.venv/bin\n"


def test_an_engine_of_this_version_is_not_downloaded_again(machine: Machine) -> None:
    machine.program("pulumi", PULUMI.format(VERSION))
    assert machine.set_up().returncode == 0
    assert machine.requests == []


def test_an_archive_with_other_content_than_its_checksum_is_not_installed(machine: Machine) -> None:
    with (machine.folder / "served" / ARCHIVE).open("ab") as archive:
        archive.write(b"more")
    assert machine.set_up().returncode
    assert not machine.installed.exists()


def test_an_archive_without_a_checksum_is_not_installed(machine: Machine) -> None:
    (machine.folder / "served/SHA512SUMS").write_text("")
    assert machine.set_up().returncode
    assert not machine.installed.exists()


def test_another_processor_is_refused_by_name(machine: Machine) -> None:
    machine.program("uname", "#!/bin/sh\necho riscv64\n")
    done = machine.set_up()
    assert (done.returncode, done.stderr) == (
        2,
        "there is no Pulumi CLI for riscv64; run CI on x86_64 or aarch64\n",
    )
