"""Previews one release: `python -m model_preview ENDPOINT OLD NEW --tracking-uri http://localhost:5000`.

Exit code 0: the release passes, perhaps with warnings. 1: the stack is protected, and the release could not be
verified. 2: the command line is wrong. 3: the release is refused.
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from model_preview import packages, reading
from model_preview.facts import Change, Reference
from model_preview.markdown import markdown
from model_preview.preview import preview
from model_preview.terminal import show
from model_preview.verdict import Gate, Kind, needs_facts

PASSED, UNVERIFIED, REFUSED = 0, 1, 3
NONE = "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        image = packages.serving_image(asked.lock)
    except (OSError, ValueError) as error:
        parser.error(f"argument --lock: {asked.lock} cannot be read ({error}); write a lock file")
    model = asked.model or asked.endpoint
    change = Change(
        endpoint=asked.endpoint,
        old=Reference(model=model, version=asked.old) if asked.old else None,
        new=Reference(model=model, version=asked.new, digest=asked.digest) if asked.new else None,
    )
    gate = Gate(
        protected=asked.protected,
        allow_breaking_signature=asked.allow_breaking_signature,
        override=asked.override,
    )
    facts = None
    if needs_facts(change, gate):
        token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
        facts = reading.read(asked.tracking_uri, [change], token=token, seconds=asked.seconds)
    found = preview(change, facts, gate, image)
    if asked.json:
        print(found.model_dump_json(indent=1))
    elif asked.markdown:
        print(markdown([found]), end="")
    else:
        show(Console(highlight=False), found)
    if not found.verdict.fails:
        return PASSED
    return UNVERIFIED if found.verdict.kind is Kind.UNVERIFIED else REFUSED


def _version(text: str) -> int:
    """Return the version's number; 0 for `none`."""
    if text == NONE:
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version number; write one of at least 1, or {NONE}")
    return int(text)


def _seconds(text: str) -> float:
    """A time limit; argparse makes an error line of a ValueError."""
    if not 0 < (seconds := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time limit: write seconds above 0")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m model_preview", description="Preview a release of a model.")
    parser.add_argument("endpoint", metavar="ENDPOINT", help="name under mlops:endpoints")
    parser.add_argument("old", metavar="OLD", type=_version, help=f"version that is served; {NONE} for a new endpoint")
    parser.add_argument("new", metavar="NEW", type=_version, help=f"next version; {NONE} for a removed endpoint")
    parser.add_argument("--model", default="", help="registered model; the endpoint's name by default")
    parser.add_argument("--digest", default="", metavar="SHA256", help="digest of the next version in the stack file")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI", "http://localhost:5000"),
        metavar="URI",
        help="MLflow server; MLFLOW_TRACKING_URI by default. MLFLOW_TRACKING_TOKEN holds its bearer token",
    )
    parser.add_argument("--seconds", type=_seconds, default=reading.SECONDS, help="time limit for MLflow (default: 5)")
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"), help="lock file of the serving image")
    parser.add_argument("--protected", action="store_true", help="judge as for a protected stack")
    parser.add_argument("--allow-breaking-signature", default="", metavar="REASON", help="why clients may break")
    parser.add_argument("--override", default="", metavar="REASON", help="why the version may go live anyway")
    view = parser.add_mutually_exclusive_group()
    view.add_argument("--json", action="store_true", help="print JSON")
    view.add_argument("--markdown", action="store_true", help="print Markdown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
