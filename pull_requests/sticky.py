"""One comment on a pull request for each stack. It is updated in place, also when several runs write at once."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import total_ordering
from typing import Self
from urllib.parse import quote, unquote

import httpx
from pydantic import BaseModel

from contract.exit_codes import ExitCode
from pull_requests.errors import AgainError, GitHubError
from pull_requests.github import GitHub, Nothing
from pull_requests.text import fit

MOST_WRITES = 30
"""Largest number of writes after which a command gives up; a run without a rival needs one."""
MOST_GONE = 3
"""Largest number of comments that another run may delete before this run writes them; then GitHub's 404 is an error."""
_MARKER = re.compile(
    r"<!-- mlops preview, stack (?P<stack>\S+), commit (?P<commit>\S+), run (?P<number>\d+)\.(?P<attempt>\d+) -->"
)


@total_ordering
@dataclass(frozen=True, kw_only=True)
class Run:
    """Run of a workflow. A later run is greater, and so is a later attempt of the same run."""

    number: int = 0
    """Number of the run, GITHUB_RUN_NUMBER; 0 outside a workflow."""
    attempt: int = 0
    """Number of the attempt, GITHUB_RUN_ATTEMPT."""

    def __lt__(self, other: "Run") -> bool:
        return (self.number, self.attempt) < (other.number, other.attempt)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return the run that the variables of GitHub Actions name."""
        numbers = (environment.get(name, "") for name in ("GITHUB_RUN_NUMBER", "GITHUB_RUN_ATTEMPT"))
        number, attempt = (int(text) if text.isdecimal() else 0 for text in numbers)
        return cls(number=number, attempt=attempt)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of one run about one stack."""

    stack: str
    commit: str
    """Full SHA of the commit that the report is about."""
    run: Run
    text: str
    """Markdown."""
    run_url: str = ""
    """Address of the run; empty outside a workflow."""

    @property
    def body(self) -> str:
        """Text of the comment: a hidden marker, the report, and a line that names the commit."""
        stack = quote(self.stack, safe="").replace("-", "%2D")  # two hyphens could end the HTML comment
        run = f"{self.run.number}.{self.run.attempt}"
        made_by = f", made by [this run]({self.run_url})" if self.run_url else ""
        return fit(
            self.text,
            head=f"<!-- mlops preview, stack {stack}, commit {self.commit}, run {run} -->\n",
            foot=f"\n\n<sub>Report of commit {self.commit}{made_by}.</sub>\n",
        )


@dataclass(frozen=True, kw_only=True)
class Comment:
    """Comment of this program on the pull request, with what its marker says."""

    number: int
    url: str
    body: str
    commit: str
    run: Run


class _User(BaseModel):
    id: int


class _Entry(BaseModel):
    id: int
    html_url: str
    body: str | None = None
    user: _User | None


def publish(github: GitHub, author: int, pull_request: int, report: Report) -> Comment:
    """Make the report the stack's only comment on the pull request, and return the comment as it is at the end.

    The report of a later run stays, so look at `run` of the result. If a race made several comments, the oldest one
    stays, with the report of the latest run. GitHub has no conditional update, so each write directly follows a read,
    and a read follows the last write. A later report is lost only if another run does all its requests between the two.

    Args:
        github: connection.
        author: ID of the user or app whose comments may be changed.
        pull_request: number of the pull request.
        report: report to publish.

    Raises:
        GitHubError: GitHub refused a request or did not respond.
    """
    comments = f"/issues/{pull_request}/comments"
    made: list[Comment] = []
    written, gone = False, 0
    for _ in range(MOST_WRITES):
        found = _comments(github, author, pull_request, report.stack) or made  # a list may lag behind a write
        later = [one for one in found if one.run > report.run and report.run.number]
        body = max(later, key=lambda one: one.run).body if later else report.body
        try:
            if not found:
                new = github.send_once(
                    "POST", comments, _Entry, f"comment on pull request {pull_request}", {"body": body}
                )
                made = list(_parsed([new], author, report.stack))
                written = True
            elif not _same(found[0].body, body) and not (written and found[0].run == report.run):
                what = f"update the comment on pull request {pull_request}"
                github.send_once("PATCH", f"/issues/comments/{found[0].number}", Nothing, what, {"body": body})
                written = True
            elif doubles := found[1:]:
                what = f"delete a second comment on pull request {pull_request}"
                github.send_once("DELETE", f"/issues/comments/{doubles[-1].number}", Nothing, what)
            else:
                return found[0]
        except AgainError:
            continue
        except GitHubError as error:
            gone += 1
            if error.status != httpx.codes.NOT_FOUND.value or not found or gone > MOST_GONE:
                raise
    raise GitHubError(
        f"could not settle the comment of stack {report.stack} on pull request {pull_request}: other runs changed it "
        f"{MOST_WRITES} times; run the command again",
        ExitCode.FAILED,
    )


def _comments(github: GitHub, author: int, pull_request: int, stack: str) -> list[Comment]:
    """Return the author's comments about the stack, the oldest first."""
    entries = github.pages(
        f"/issues/{pull_request}/comments", _Entry, f"read the comments of pull request {pull_request}"
    )
    return sorted(_parsed(entries, author, stack), key=lambda one: one.number)


def _parsed(entries: Iterable[_Entry], author: int, stack: str) -> Iterator[Comment]:
    for entry in entries:
        body = entry.body or ""
        marker = _MARKER.match(body)
        if marker and unquote(marker["stack"]) == stack and entry.user and entry.user.id == author:
            run = Run(number=int(marker["number"]), attempt=int(marker["attempt"]))
            yield Comment(number=entry.id, url=entry.html_url, body=body, commit=marker["commit"], run=run)


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()  # GitHub may change line ends
