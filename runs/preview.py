"""Preview of a stack, as `pulumi preview --json` prints it."""

import json
import subprocess
from collections.abc import Mapping, Sequence

from runs.cluster import last_line
from runs.drift import Object
from runs.errors import RunsError


def arguments(*options: str, stack: str | None = None) -> list[str]:
    """Return the arguments of `pulumi` for a preview that `run` can read; `stack` None: of the selected stack."""
    form = ("--json", "--show-sames", "--non-interactive")
    return ["preview", *options, *form, *(["--stack", stack] if stack else [])]


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Object:
    """Run a `pulumi preview --json` and return what it prints, parsed.

    Raises:
        RunsError: the preview failed; the message is the engine's own.
    """
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise RunsError("pulumi is not on PATH, but the report needs its preview; install pulumi") from missing
    try:
        preview: Object = json.loads(done.stdout)
    except ValueError:
        raise RunsError(
            f"`{' '.join(command)}` failed with exit code {done.returncode}: {last_line(done.stderr)}"
        ) from None
    if done.returncode:
        errors = [each["message"].strip() for each in preview.get("diagnostics", []) if each["severity"] == "error"]
        raise RunsError("\n".join(errors) or f"`{' '.join(command)}` failed with exit code {done.returncode}")
    return preview
