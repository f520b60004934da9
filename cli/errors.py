"""Errors of the command line."""

from collections.abc import Generator
from contextlib import contextmanager

from contract.exit_codes import ExitCode, UserError
from pull_requests.errors import PullRequestError


class CommandError(UserError):
    """A command failed. The message is one line for a person; `code` is the exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.BAD_INPUT) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def registry_errors() -> Generator[None]:
    """Turn errors of the model registry, MLflow and the artifact store into CommandError. Calls to MLflow fail fast.

    Other exceptions are defects and keep their traceback.
    """
    from training import ending

    ending.fail_fast()
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("interrupted; run the same command again to continue", ExitCode.INTERRUPTED) from None
    except Exception as error:
        code, sentence = ending.explain(error)
        if not sentence:
            raise
        raise CommandError(sentence, code) from error


@contextmanager
def pull_request_errors() -> Generator[None]:
    """Turn errors of GitHub and of the stack file into CommandError."""
    try:
        yield
    except PullRequestError as error:
        raise CommandError(str(error), error.code) from error
