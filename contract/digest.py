"""Digest of a model's files: training writes it to the registry, and the model server compares its files with it."""

import hashlib
from pathlib import Path

IGNORED = b"registered_model_meta"
"""File that MLflow's client writes next to the files of a version that it loads; it is not part of the version."""


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the output of `sha256sum` for all files in the folder, sorted by the bytes of their paths.

    The file `registered_model_meta` of MLflow's client is left out.
    """
    paths = sorted((path.relative_to(folder).as_posix().encode(), path) for path in folder.rglob("*") if path.is_file())
    listed = hashlib.sha256()
    for name, path in paths:
        if name == IGNORED:
            continue
        with path.open("rb") as file:
            listed.update(hashlib.file_digest(file, "sha256").hexdigest().encode() + b"  " + name + b"\n")
    return listed.hexdigest()
