"""Files that are written whole or not at all."""

from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """The file holds `content` afterwards, and only its owner can read it. A file that holds it already is not touched.

    An interruption leaves the old file or the new one, never a part.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(data)
    fresh.replace(path)
