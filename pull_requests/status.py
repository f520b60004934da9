"""Commit status of a stack, which a branch protection rule can require."""

from collections.abc import Mapping
from enum import StrEnum

from pull_requests.github import GitHub, Nothing


class Outcome(StrEnum):
    """Result of a preview."""

    PASSES = "passes"
    REFUSED = "refused"
    UNVERIFIED = "unverified"


STATES: Mapping[Outcome, tuple[str, str]] = {
    Outcome.PASSES: ("success", "The preview passes."),
    Outcome.REFUSED: ("failure", "The preview is refused; the comment has the reasons."),
    Outcome.UNVERIFIED: ("error", "The preview could not be verified; the comment has the reason."),
}
"""GitHub's state and a sentence for each outcome."""


def context(stack: str) -> str:
    """Return the name of the stack's commit status."""
    return f"mlops preview ({stack})"


def report(github: GitHub, stack: str, commit: str, outcome: Outcome, url: str) -> None:
    """Set the stack's status of the commit. `url` is the address of the comment with the report.

    Raises:
        GitHubError: GitHub refused the request or did not respond.
    """
    state, description = STATES[outcome]
    body = {"state": state, "context": context(stack), "description": description, "target_url": url}
    github.send("POST", f"/statuses/{commit}", Nothing, f"set the status of commit {commit[:12]}", body)
