"""Atomic writing of files."""

from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner can read. A file with the same content is not touched.

    An interruption leaves the old file or the new one, never a part of it.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(data)
    fresh.replace(path)
