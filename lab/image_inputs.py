"""What an image is made of, read from its Dockerfile: the files that it copies from the checkout, and their hash."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from fnmatch import translate
from pathlib import Path

from lab.errors import LabError

HASH_LENGTH = 12


def content_hash(dockerfile: Path, context: Path, arguments: Mapping[str, str]) -> str:
    """12 hex digits that change with anything that `dockerfile` takes in: itself, its files, its build arguments."""
    digest = hashlib.sha256(dockerfile.read_bytes())
    for name, value in sorted(arguments.items()):
        digest.update(f"\0{name}={value}".encode())
    for file in copied_files(dockerfile, context):
        runs = os.access(file, os.X_OK)
        digest.update(
            f"\0{file.relative_to(context)} {runs:d} {hashlib.sha256(file.read_bytes()).hexdigest()}".encode()
        )
    return digest.hexdigest()[:HASH_LENGTH]


def copied_files(dockerfile: Path, context: Path) -> list[Path]:
    """Every file of `context` that a COPY or ADD of `dockerfile` brings in, less what .dockerignore keeps out."""
    ignored = ignore_rules(context / ".dockerignore")
    found = set[Path]()
    for source in copy_sources(dockerfile):
        roots = sorted(context.glob(source.strip("/")))
        if not roots:
            raise LabError(f"{dockerfile.relative_to(context)}: COPY {source}: there is no such file in {context}.")
        for root in roots:
            found |= {file for file in (root, *root.rglob("*")) if file.is_file()}
    return sorted(file for file in found if not is_ignored(file.relative_to(context), ignored))


def copy_sources(dockerfile: Path) -> Iterator[str]:
    """The paths that COPY and ADD take from the context; not those of another stage."""
    instructions = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", dockerfile.read_text()))
    for line in instructions.splitlines():
        words = shlex.split(line)
        if len(words) < 3 or words[0].upper() not in {"COPY", "ADD"} or any(w.startswith("--from") for w in words):
            continue
        yield from (word for word in words[1:-1] if not word.startswith("--"))


def ignore_rules(file: Path) -> list[tuple[bool, re.Pattern[str]]]:
    """(kept, pattern) for each line of a .dockerignore, in order."""
    lines = [line.strip() for line in file.read_text().splitlines()] if file.exists() else []
    return [(line.startswith("!"), _pattern(line.lstrip("!").strip("/"))) for line in lines if line and line[0] != "#"]


def _pattern(glob: str) -> re.Pattern[str]:
    anywhere = "(?:.*/)?" if glob.startswith("**/") else ""
    return re.compile(anywhere + translate(glob.removeprefix("**/")))


def is_ignored(path: Path, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """The last rule that matches the path or one of the folders above it decides."""
    places = [str(place) for place in (path, *path.parents)]
    decided = [kept for kept, pattern in rules if any(pattern.fullmatch(place) for place in places)]
    return bool(decided) and not decided[-1]
