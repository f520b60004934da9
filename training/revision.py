"""The commit of the checkout that a command runs in."""

import subprocess
from pathlib import Path


def head(folder: Path = Path()) -> str:
    """The commit in 12 digits; nothing outside a checkout, or without git."""
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked.stdout.strip()
