"""Notebooks in a folder of this machine that are copied into a pod and back."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import cast

from cli.errors import CommandError

COPIED = ".copied.json"
"""File in the folder with the digest of each notebook that this machine and the pod both had last."""
OF_THE_POD = re.compile(r"\.pod\d*\.ipynb$")
"""End of the name of a pod's notebook whose own name another notebook of this machine has."""


@dataclass(frozen=True)
class NotebookFiles:
    """Notebooks in a folder."""

    folder: Path

    def given(self) -> dict[str, str]:
        """Return the text of each notebook by its path in the folder, without those that `save` kept beside others.

        Make the folder if it does not exist. Raise CommandError if it, or a notebook, cannot be used.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            files = [file.relative_to(self.folder) for file in self.folder.rglob("*.ipynb")]
            return {
                str(file): (self.folder / file).read_text()
                for file in files
                if _is_notebook(PurePosixPath(file)) and not OF_THE_POD.search(file.name)
            }
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"the notebooks in {self.folder} cannot be read: {error}") from error

    def sent(self, names: list[str], given: Mapping[str, str]) -> None:
        """Record that the pod has these notebooks as they are here."""
        self._record(self._copied() | {name: _digest(given[name]) for name in names})

    def save(self, files: Mapping[str, str]) -> Iterator[str]:
        """Write the pod's notebooks that changed there; yield a line for each that changed on this machine, too.

        What changed on this machine is never overwritten: the pod's notebook gets another name then.
        """
        copied = self._copied()
        for name, text in files.items():
            if not _is_notebook(PurePosixPath(name)):
                continue
            here, there = self._digest_of(name), _digest(text)
            if here is None or (here != there and here == copied.get(name)):
                self._write(name, text)
            elif here != there and there != copied.get(name):
                other = self._other_name(name, copied)
                self._write(other, text)
                copied[other] = there
                yield f"{name} changed on this machine too; the pod's copy is {self.folder / other}"
            copied[name] = there
        self._record(copied)

    def _other_name(self, name: str, copied: Mapping[str, str]) -> str:
        """Return a name beside this one that no file has, or only a copy of the pod's that nobody has changed."""
        stem = name.removesuffix(".ipynb")
        names = (f"{stem}.pod{number or ''}.ipynb" for number in count())
        return next(one for one in names if self._digest_of(one) in {None, copied.get(one)})

    def _digest_of(self, name: str) -> str | None:
        file = self.folder / name
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None

    def _write(self, name: str, text: str) -> None:
        """Write a file as a whole, so that a command that is killed leaves the former one."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_text(text)
        new.replace(file)

    def _copied(self) -> dict[str, str]:
        try:
            read: object = json.loads((self.folder / COPIED).read_text())
        except (OSError, ValueError):
            return {}
        return cast("dict[str, str]", read) if isinstance(read, dict) else {}

    def _record(self, copied: Mapping[str, str]) -> None:
        self._write(COPIED, json.dumps(copied))


def _is_notebook(path: PurePosixPath) -> bool:
    """Return whether a path is that of a notebook below the folder, and not of a hidden file."""
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix == ".ipynb" and not path.is_absolute() and not hidden


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
