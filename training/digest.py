"""One number for the files of a model: the same files, the same number, wherever they lie."""

import hashlib
from pathlib import Path

MODEL_DIGEST = "model_digest"
"""The tag of a version that holds the digest of its files; `model_server.fetch` refuses files that do not have it."""
NOTE = b"registered_model_meta"
"""What MLflow's client writes beside the files of a version that it loads, on a local store into the store itself."""


def digest(folder: Path) -> str:
    """SHA-256 of the list that `sha256sum` would print of all files in the folder, by path, in the order of bytes.

    A note of MLflow's client does not count.
    """
    paths = sorted((path.relative_to(folder).as_posix().encode(), path) for path in folder.rglob("*") if path.is_file())
    listed = hashlib.sha256()
    for name, path in paths:
        if name == NOTE:
            continue
        with path.open("rb") as file:
            listed.update(hashlib.file_digest(file, "sha256").hexdigest().encode() + b"  " + name + b"\n")
    return listed.hexdigest()
