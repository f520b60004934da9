"""What has been answered so far, in a file beside the result: a line for each answer, so that a second try goes on.

The first line says what the answers are about; where it is another, they are of no use and the file starts again. A
last line that was cut short is dropped.
"""

import fcntl
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeAlias

from client.columns import Json
from client.endpoint import Answered
from client.errors import InputError

Layout: TypeAlias = int | tuple[str, ...] | None
"""What one prediction is: so many values in a list, values by name, or one value."""


@dataclass(kw_only=True)
class Journal:
    """`rows` have their answer. `versions` is how many rows each version answered, in the order of appearance."""

    file: IO[str]
    rows: int = 0
    versions: dict[str, int] = field(default_factory=dict[str, int])
    layouts: set[Layout] = field(default_factory=set[Layout])

    def add(self, answered: Answered) -> None:
        """One more answer; it is in the file when this returns."""
        line = [answered.model_version, answered.request_id, answered.predictions]
        self.file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.file.flush()
        self._count(answered)

    def _count(self, answered: Answered) -> None:
        rows = len(answered.predictions)
        self.rows += rows
        self.versions[answered.model_version] = self.versions.get(answered.model_version, 0) + rows
        self.layouts |= {layout(prediction) for prediction in answered.predictions}

    def answers(self) -> Iterator[Answered]:
        """All of them, in order."""
        self.file.seek(0)
        next(self.file)
        for line in self.file:
            yield _answered(line)

    def read_back(self) -> int:
        """Where the last whole line ends, in bytes."""
        end = 0
        with open(self.file.fileno(), "rb", closefd=False) as raw:
            raw.seek(0)
            for number, line in enumerate(raw):
                if not line.endswith(b"\n"):
                    break
                if number:
                    self._count(_answered(line))
                end += len(line)
        return end


@contextmanager
def journal(path: Path, about: Mapping[str, object]) -> Generator[Journal]:
    """The journal at the path, with what it holds of an earlier try.

    Raises:
        InputError: another process writes it.
    """
    path.touch()
    with path.open("r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{path} is being written by another client; wait for it, or name another file with --out"
            ) from None
        made, head = Journal(file=file), json.dumps(about, sort_keys=True) + "\n"
        end = made.read_back() if file.readline() == head else 0
        file.truncate(end)
        file.seek(0, os.SEEK_END)
        if not end:
            file.write(head)
        yield made


def layout(prediction: Json) -> Layout:
    """The shape of one prediction."""
    if isinstance(prediction, dict):
        return tuple(prediction)
    return len(prediction) if isinstance(prediction, list) else None


def _answered(line: str | bytes) -> Answered:
    version, request_id, predictions = json.loads(line)
    return Answered(model_version=version, request_id=request_id, predictions=predictions)


def columns(layouts: set[Layout]) -> Sequence[str]:
    """The columns of predictions: one, unless all have the same names or the same length."""
    only = next(iter(layouts)) if len(layouts) == 1 else None
    if only is None:
        return ["prediction"]
    return [f"prediction_{each}" for each in (range(only) if isinstance(only, int) else only)]
