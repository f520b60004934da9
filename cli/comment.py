"""Function behind `mlops comment`: the comment of a stack on a pull request, then the commit status."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cli.errors import CommandError, pull_request_errors
from pull_requests import status, sticky
from pull_requests.github import PUBLIC_API, GitHub, Repository
from pull_requests.status import Outcome
from pull_requests.sticky import Report, Run


class _Head(BaseModel):
    sha: str


class _PullRequest(BaseModel):
    head: _Head


class _Event(BaseModel):
    pull_request: _PullRequest | None = None


def comment(stack: str, pull_request: int, file: str, outcome: str, *, commit: str | None) -> None:
    """Write the report into the stack's comment on the pull request, then set the commit status.

    Args:
        stack: name of the stack.
        pull_request: number of the pull request.
        file: Markdown file with the report; `-` is stdin.
        outcome: `passes`, `refused` or `unverified`.
        commit: full SHA of the commit that the report is about; None: the one of the workflow's event.
    """
    text = _read(file)
    with pull_request_errors():
        repository = Repository.from_environment(os.environ)
        about = commit or _commit(os.environ)
        run, url = Run.from_environment(os.environ), run_url(os.environ, repository)
        report = Report(stack=stack, commit=about, run=run, text=text, run_url=url)
        with GitHub(repository, tell=tell) as github:
            author = github.author()
            found = sticky.publish(github, author, pull_request, report)
            if run.number and found.run > run and found.commit == about:
                print(f"{found.url}: run {found.run.number} has a later report of the same commit; it stays")
                return
            status.report(github, stack, about, Outcome(outcome), found.url)
            found = sticky.publish(github, author, pull_request, report)  # another run may have written meanwhile
    later = found.run.number if run.number and found.run > run else 0
    kept = f"; the comment has the later report of run {later}, which stays" if later else ""
    print(f"{found.url}: {status.context(stack)} of commit {about[:12]}: {outcome}{kept}")


def tell(sentence: str) -> None:
    """Print a sentence on stderr, for a person who waits."""
    print(f"mlops: {sentence}", file=sys.stderr, flush=True)


def run_url(environment: Mapping[str, str], repository: Repository) -> str:
    """Return the address of the workflow's run; empty outside a workflow."""
    run = environment.get("GITHUB_RUN_ID", "")
    server = environment.get("GITHUB_SERVER_URL") or ("https://github.com" if repository.api == PUBLIC_API else "")
    return f"{server}/{repository.name}/actions/runs/{run}" if server and run.isdecimal() else ""


def _read(file: str) -> str:
    try:
        text = (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode(errors="replace")
    except OSError as problem:
        raise CommandError(
            f"--file {file}: it cannot be read ({problem.strerror}); write the report first"
        ) from problem
    if not text.strip():
        raise CommandError(f"--file {file} is empty; write the report with `mlops preview --markdown --out {file}`")
    return text


def _commit(environment: Mapping[str, str]) -> str:
    """Return the newest commit of the pull request whose event started the workflow, or the commit of the checkout.

    GITHUB_SHA is not used in a pull request: there it names a merge commit that GitHub creates for the workflow, and
    GitHub does not show the status of this commit.
    """
    if event := environment.get("GITHUB_EVENT_PATH"):
        try:
            found = _Event.model_validate(json.loads(Path(event).read_text())).pull_request
        except (OSError, ValueError, ValidationError) as problem:
            raise CommandError(f"GITHUB_EVENT_PATH {event} cannot be read; write --commit SHA") from problem
        if found:
            return found.head.sha
    if sha := environment.get("GITHUB_SHA"):
        return sha
    try:
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as problem:
        raise CommandError("the commit of the report is not known outside a checkout; write --commit SHA") from problem
