"""Digest by which the registry identifies the files of a version."""

import hashlib
from pathlib import Path

MODEL_DIGEST = "model_digest"
"""Tag of the version that holds the digest."""
NOTE = b"registered_model_meta"  # MLflow writes it beside a version's files when it loads them


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of what `sha256sum` prints for all files in the folder, sorted by the bytes of their paths.

    The result equals that of `training.digest`, which writes it to the registry. The file NOTE is left out.
    """
    paths = sorted((path.relative_to(folder).as_posix().encode(), path) for path in folder.rglob("*") if path.is_file())
    listed = hashlib.sha256()
    for name, path in paths:
        if name == NOTE:
            continue
        with path.open("rb") as file:
            listed.update(hashlib.file_digest(file, "sha256").hexdigest().encode() + b"  " + name + b"\n")
    return listed.hexdigest()
