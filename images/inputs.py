"""Inputs of an image, read from its Dockerfile: the files that it copies from the checkout, and their hash."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from pathspec import GitIgnoreSpec

from images.errors import ImageError

HASH_LENGTH = 12


def content_hash(dockerfile: Path, context: Path, arguments: Mapping[str, str]) -> str:
    """Return 12 hexadecimal digits, a hash of the Dockerfile, the files that it copies, and the build arguments."""
    digest = hashlib.sha256(dockerfile.read_bytes())
    for name, value in sorted(arguments.items()):
        digest.update(f"\0{name}={value}".encode())
    for file in copied_files(dockerfile, context):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"\0{file.relative_to(context)} {os.access(file, os.X_OK):d} {content}".encode())
    return digest.hexdigest()[:HASH_LENGTH]


def copied_files(dockerfile: Path, context: Path) -> list[Path]:
    """Return each file of `context` that a COPY or ADD of the Dockerfile copies, without those in .dockerignore."""
    rules = context / ".dockerignore"
    # A pattern of .dockerignore is relative to the context, one of .gitignore to any folder; add a leading slash.
    lines = re.sub(r"(?m)^(!?)/?(?=[^!#/*]|\*(?!\*))", r"\1/", rules.read_text() if rules.exists() else "")
    ignored = GitIgnoreSpec.from_lines(lines.splitlines())
    found = set[Path]()
    for source in _copy_sources(dockerfile):
        roots = sorted(context.glob(source.strip("/")))
        if not roots:
            raise ImageError(
                f"{dockerfile.relative_to(context)}: COPY {source}: there is no such file in {context}; correct it."
            )
        found |= {file for root in roots for file in (root, *root.rglob("*")) if file.is_file()}
    return sorted(file for file in found if not ignored.match_file(file.relative_to(context)))


def _copy_sources(dockerfile: Path) -> Iterator[str]:
    """Yield the paths that COPY and ADD read from the context, not those from other stages."""
    instructions = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", dockerfile.read_text()))
    for words in map(shlex.split, instructions.splitlines()):
        if len(words) > 2 and words[0].upper() in {"COPY", "ADD"} and not any(w.startswith("--from") for w in words):
            yield from (word for word in words[1:-1] if not word.startswith("--"))
