"""Errors of this package. Each message is one line for a person; `code` is the exit code of the command."""

from contract.exit_codes import ExitCode


class PullRequestError(Exception):
    """A step of a release could not be made."""

    def __init__(self, message: str, code: ExitCode = ExitCode.BAD_INPUT) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


class GitHubError(PullRequestError):
    """GitHub refused a request or did not respond."""

    def __init__(self, message: str, code: ExitCode = ExitCode.BAD_INPUT, status: int | None = None) -> None:
        super().__init__(message, code)
        self.status = status
        """HTTP status of the response; None if there was no response."""


class AgainError(Exception):
    """GitHub may or may not have carried out a write. Read the present state before you repeat it.

    The time that GitHub asked the caller to wait has passed already.
    """


class StackFileError(PullRequestError):
    """The stack file does not have what the release changes, or has it in a form that cannot be changed safely."""
