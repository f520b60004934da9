"""Reads the Git commit of the checkout that a command runs in."""

import subprocess
from pathlib import Path


def head(folder: Path = Path()) -> str:
    """Return the first 12 digits of the commit; an empty text outside a checkout or without git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
