"""Former versions of an endpoint, from the git history of its stack file."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from contract.exit_codes import ExitCode
from model_preview.redact import plain
from pull_requests.errors import PullRequestError, StackFileError
from pull_requests.stack_file import Entry, StackFile

_FORMAT = "%H%x09%cs%x09%s"
_LONGEST_SUBJECT = 60


@dataclass(frozen=True, kw_only=True)
class Former:
    """Entry of an endpoint as a commit has it."""

    entry: Entry
    commit: str
    date: str
    subject: str

    def __str__(self) -> str:
        return f"commit {self.commit[:12]} of {self.date} ({self.subject})"


def previous(file: Path, entry: Entry) -> Former:
    """Return the last entry of the endpoint with another version.

    Only the commits of the branch itself count, and not those of branches that were merged into it: what stood there
    was never deployed.

    Args:
        file: stack file in a git checkout.
        entry: present entry of the endpoint.

    Raises:
        PullRequestError: the history has no other version, or there is no history.
    """
    log = _git(file, "log", "--first-parent", f"--format={_FORMAT}", "--", file.name)
    for line in log.splitlines():
        commit, date, subject = line.split("\t", 2)
        former = _entry(file, commit, entry.endpoint)
        if former and former.version != entry.version:
            shown = plain(subject)[:_LONGEST_SUBJECT]
            found = Former(entry=former, commit=commit, date=date, subject=shown)
            if former.model != entry.model:
                raise PullRequestError(
                    f"{file.name}: before it served {entry.model}, {entry.endpoint} served {former.model} version "
                    f"{former.version}, as in {found}; change the model and the version by hand"
                )
            return found
    why = f"{file.name} has no commit in which {entry.endpoint} had another version than {entry.version}"
    if _git(file, "rev-parse", "--is-shallow-repository") == "true":
        raise PullRequestError(f"{why}, and this checkout lacks older commits; fetch them (git fetch --unshallow)")
    raise PullRequestError(f"{why}; write the version")


def _entry(file: Path, commit: str, endpoint: str) -> Entry | None:
    """Return the endpoint's entry in a commit; None if the file was absent or wrong there."""
    try:
        return StackFile(file.name, _git(file, "show", f"{commit}:./{file.name}")).endpoints().get(endpoint)
    except (StackFileError, _GitError):
        return None


class _GitError(PullRequestError):
    """git is missing, or refused a command."""


def _git(file: Path, *words: str) -> str:
    command = ["git", "-C", str(file.parent), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    except OSError as error:
        raise _GitError(
            "git is not on PATH, but former versions stand in its history; install git", ExitCode.FAILED
        ) from error
    if done.returncode:
        said = plain(done.stderr.strip().rpartition("\n")[2])
        raise _GitError(f"git cannot read the history of {file}: {said}; run the command in a git checkout")
    return done.stdout.strip()
