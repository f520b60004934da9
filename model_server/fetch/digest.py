"""The number by which the registry knows the files of a version."""

import hashlib
from pathlib import Path

MODEL_DIGEST = "model_digest"
"""The tag of a version that holds it."""
NOTE = b"registered_model_meta"  # written beside the files of a version by whoever loads it with MLflow


def digest_of(folder: Path) -> str:
    """SHA-256 of the list that `sha256sum` would print of all files in the folder, in the order of their paths' bytes.

    The same as `training.digest`, which leaves it in the registry. A note of MLflow's client does not count.
    """
    paths = sorted((path.relative_to(folder).as_posix().encode(), path) for path in folder.rglob("*") if path.is_file())
    listed = hashlib.sha256()
    for name, path in paths:
        if name == NOTE:
            continue
        with path.open("rb") as file:
            listed.update(hashlib.file_digest(file, "sha256").hexdigest().encode() + b"  " + name + b"\n")
    return listed.hexdigest()
