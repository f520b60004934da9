"""Pull request that changes the version of one endpoint. There is at most one open for each stack and endpoint."""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from contract.exit_codes import ExitCode
from pull_requests.errors import AgainError, GitHubError, PullRequestError
from pull_requests.github import GitHub
from pull_requests.stack_file import Entry, StackFile
from pull_requests.text import fit

TRIES = 12
"""Number of times that the steps are made again after another run changed something in between."""
ACTIONS = "github-actions[bot]"
"""Author of commits and pull requests that GITHUB_TOKEN of GitHub Actions makes; they start no checks."""
MOST_MERGES = 10
"""Largest number of merges of the base branch into a proposal's branch that are followed back."""
_CHANGED_MEANWHILE = ("already exists", "does not exist")
"""Words of GitHub's messages when another run was faster."""


class DeclinedError(PullRequestError):
    """A pull request for this version was closed without a merge."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """Branch that proposals are merged into, with the stack file that it has."""

    branch: str
    commit: str
    tree: str
    """SHA of the commit's tree."""
    path: str
    """Path of the stack file in the repository."""
    file: StackFile


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Change of the version of one endpoint."""

    stack: str
    base: Base
    entry: Entry
    """Entry of the endpoint in the base branch."""
    version: int
    after: StackFile
    """Stack file with the new version."""
    report: str
    """Text of the pull request, in Markdown."""
    percent: int | None = None
    """Share of the callers that the version gets, in percent; None: all, at once."""

    @property
    def branch(self) -> str:
        """Name of the branch."""
        return f"mlops/release-{_ref_part(self.stack)}-{_ref_part(self.entry.endpoint)}"

    @property
    def title(self) -> str:
        """Title of the pull request, and message of its commit."""
        return f"{self.entry.endpoint}: version {self.entry.version} -> {self.version}{self._share} in {self.stack}"

    @property
    def marker(self) -> str:
        """Hidden line of the text that names the version."""
        model = quote(self.entry.model, safe="").replace("-", "%2D")
        return f"<!-- mlops proposal, model {model}, version {self.version}{self._share} -->"

    @property
    def _share(self) -> str:
        return "" if self.percent is None else f" at {self.percent} %"

    @property
    def body(self) -> str:
        """Text of the pull request."""
        return fit(self.report, head=f"{self.marker}\n", foot="\n")


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """Pull request after a proposal."""

    url: str
    done: str
    """`opened`, `updated` or `unchanged`."""
    author: str
    """Login of the author."""


class _Repository(BaseModel):
    default_branch: str


class _Object(BaseModel):
    sha: str


class _Ref(BaseModel):
    object: _Object


class _Commit(BaseModel):
    sha: str
    message: str
    tree: _Object
    parents: tuple[_Object, ...]


class _Content(BaseModel):
    content: str
    encoding: str


class _User(BaseModel):
    login: str


class _PullRequest(BaseModel):
    number: int
    html_url: str
    state: str
    title: str
    body: str | None
    merged_at: datetime | None
    user: _User | None


def read_base(github: GitHub, path: str) -> Base:
    """Return the default branch of the repository, with the stack file at the path.

    Raises:
        GitHubError: the repository has no such file, GitHub refused the request or did not respond.
    """
    what = f"read {path}"
    branch = github.get("", _Repository, what).default_branch
    head = github.get(f"/git/ref/heads/{quote(branch)}", _Ref, what).object.sha
    commit = github.get(f"/git/commits/{head}", _Commit, what)
    content = github.get(f"/contents/{quote(path)}", _Content, f"{what} of {branch}", ref=head)
    if content.encoding != "base64":
        raise GitHubError(f"could not {what} of {branch}: GitHub sends it as {content.encoding}; is it a stack file?")
    try:
        text = base64.b64decode(content.content).decode()
    except ValueError as error:
        raise GitHubError(f"{path} of {branch} is not text in UTF-8, so it is no stack file") from error
    return Base(
        branch=branch, commit=head, tree=commit.tree.sha, path=path, file=StackFile(f"{path} of {branch}", text)
    )


def propose(github: GitHub, proposal: Proposal) -> Proposed:
    """Open the pull request, or bring the open one up to date.

    The branch has one commit on top of the base branch. If the base branch moved, the branch is made again.

    Raises:
        DeclinedError: a pull request for this version was closed without a merge.
        PullRequestError: the branch has a commit of a person.
        GitHubError: GitHub refused a request or did not respond.
    """
    for _ in range(TRIES):
        try:
            found = _open_pull_request(github, proposal)
            moved = _write_branch(github, proposal)
            return _write_pull_request(github, proposal, found, moved=moved)
        except AgainError:
            continue
        except GitHubError as error:
            invalid = error.status == httpx.codes.UNPROCESSABLE_ENTITY.value
            if not (invalid and any(words in str(error) for words in _CHANGED_MEANWHILE)):
                raise
    raise GitHubError(
        f"could not propose {proposal.title}: other runs changed {proposal.branch} {TRIES} times; run it again",
        ExitCode.FAILED,
    )


def _open_pull_request(github: GitHub, proposal: Proposal) -> _PullRequest | None:
    """Return the open pull request of the branch; None if there is none."""
    head = f"{github.repository.owner}:{proposal.branch}"
    what = f"read the pull requests of {proposal.branch}"
    found = list(github.pages("/pulls", _PullRequest, what, head=head, base=proposal.base.branch, state="all"))
    opened = next((one for one in found if one.state == "open"), None)
    same = [one for one in found if (one.body or "").startswith(proposal.marker)]
    declined = [one for one in same if one.state == "closed" and not one.merged_at]
    if declined and opened not in same:
        raise DeclinedError(
            f"{proposal.title}: {declined[0].html_url} was closed without a merge, so version {proposal.version} is "
            "not proposed again; reopen that pull request, or propose another version",
            ExitCode.REFUSED,
        )
    return opened


def _write_branch(github: GitHub, proposal: Proposal) -> bool:
    """Bring the branch up to date, and return whether it was changed."""
    what, base = f"write the branch {proposal.branch}", proposal.base
    present = _tip(github, proposal)
    file = {"path": base.path, "mode": "100644", "type": "blob", "content": proposal.after.text}
    tree = github.send("POST", "/git/trees", _Object, what, {"base_tree": base.tree, "tree": [file]}).sha
    if present:
        parents = [parent.sha for parent in present.parents]
        if (present.message, present.tree.sha, parents) == (proposal.title, tree, [base.commit]):
            return False
        _refuse_commits_of_others(github, proposal, present)
    commit = {"message": proposal.title, "tree": tree, "parents": [base.commit]}
    made = github.send("POST", "/git/commits", _Object, what, commit).sha
    ref = f"refs/heads/{proposal.branch}"
    if present:
        github.send_once("PATCH", f"/git/{quote(ref)}", _Ref, what, {"sha": made, "force": True})
    else:
        github.send_once("POST", "/git/refs", _Ref, what, {"ref": ref, "sha": made})
    return True


def _tip(github: GitHub, proposal: Proposal) -> _Commit | None:
    """Return the last commit of the branch; None if there is no branch."""
    what = f"read the branch {proposal.branch}"
    try:
        head = github.get(f"/git/ref/heads/{quote(proposal.branch)}", _Ref, what).object.sha
    except GitHubError as error:
        if error.status == httpx.codes.NOT_FOUND.value:
            return None
        raise
    return github.get(f"/git/commits/{head}", _Commit, what)


def _refuse_commits_of_others(github: GitHub, proposal: Proposal, tip: _Commit) -> None:
    """Raise PullRequestError if the branch has a commit that this program did not make, but for merges of the base."""
    commit = tip
    for _ in range(MOST_MERGES):
        if len(commit.parents) != 2 or not commit.message.startswith("Merge "):
            break
        commit = github.get(f"/git/commits/{commit.parents[0].sha}", _Commit, f"read the branch {proposal.branch}")
    endpoint, stack = re.escape(proposal.entry.endpoint), re.escape(proposal.stack)
    if not re.fullmatch(rf"{endpoint}: version \d+ -> \d+( at \d+ %)? in {stack}", commit.message.strip()):
        raise PullRequestError(
            f"the branch {proposal.branch} has commit {commit.sha[:12]}, which `mlops propose` did not make, so it is "
            "not written again; merge or close its pull request, and delete the branch",
            ExitCode.REFUSED,
        )


def _write_pull_request(github: GitHub, proposal: Proposal, found: _PullRequest | None, *, moved: bool) -> Proposed:
    what = f"open a pull request for {proposal.branch}"
    text = {"title": proposal.title, "body": proposal.body}
    if not found:
        branches = {"head": proposal.branch, "base": proposal.base.branch}
        return _proposed(github.send_once("POST", "/pulls", _PullRequest, what, {**text, **branches}), "opened")
    if found.title == proposal.title and (found.body or "").split() == proposal.body.split():
        return _proposed(found, "updated" if moved else "unchanged")
    path = f"/pulls/{found.number}"
    return _proposed(github.send("PATCH", path, _PullRequest, f"update pull request {found.number}", text), "updated")


def _proposed(found: _PullRequest, done: str) -> Proposed:
    return Proposed(url=found.html_url, done=done, author=found.user.login if found.user else "")


def _ref_part(name: str) -> str:
    """Return the name as a part of a branch's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)
