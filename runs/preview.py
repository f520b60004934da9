"""Preview of a stack, as `pulumi preview --json` prints it."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runs.cluster import last_line
from runs.drift import Json, Object, is_map
from runs.errors import RunsError

SECONDS_BETWEEN_CALLS = 5.0


def arguments(*options: str, stack: str | None = None) -> list[str]:
    """Return the arguments of `pulumi` for a preview that `run` can read; `stack` None: of the selected stack."""
    form = ("--json", "--show-sames", "--non-interactive")
    return ["preview", *options, *form, *(["--stack", stack] if stack else [])]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Output and exit code of a `pulumi preview --json` that ended."""

    document: Object | None
    """Parsed output; None if the output is not JSON."""
    exit_code: int
    stderr: str


def attempt(
    command: Sequence[str], environment: Mapping[str, str] | None = None, waiting: Callable[[], None] | None = None
) -> Ended:
    """Run a `pulumi preview --json` and return what it prints, also if it failed.

    Args:
        command: command line.
        environment: environment of the command; None: that of this process.
        waiting: function that is called every 5 seconds until the command ends.

    Raises:
        RunsError: there is no program `pulumi`.
    """
    try:
        engine = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    except FileNotFoundError as missing:
        raise RunsError("pulumi is not on PATH, but the report needs its preview; install pulumi") from missing
    with engine:
        while True:
            try:
                output, stderr = engine.communicate(timeout=SECONDS_BETWEEN_CALLS)
                break
            except subprocess.TimeoutExpired:
                if waiting:
                    waiting()
    try:
        document: Json = json.loads(output)
    except ValueError:
        document = None
    return Ended(document=document if is_map(document) else None, exit_code=engine.returncode, stderr=stderr)


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Object:
    """Run a `pulumi preview --json` and return what it prints, parsed.

    Raises:
        RunsError: the preview failed; the message is the engine's own.
    """
    ended = attempt(command, environment)
    if ended.document is None:
        raise RunsError(f"`{' '.join(command)}` failed with exit code {ended.exit_code}: {last_line(ended.stderr)}")
    if ended.exit_code:
        said: Sequence[Object] = ended.document.get("diagnostics", [])
        errors = [each["message"].strip() for each in said if each["severity"] == "error"]
        raise RunsError("\n".join(errors) or f"`{' '.join(command)}` failed with exit code {ended.exit_code}")
    return ended.document
