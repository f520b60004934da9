"""Journal of predictions in a file beside the result, one line for each response, so that a second run continues.

The first line identifies input file, endpoint and kept columns. If it differs, the journal starts again. An incomplete
last line is dropped.
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
from client.endpoint import Predictions
from client.errors import InputError

Layout: TypeAlias = int | tuple[str, ...] | None
"""Layout of one prediction: the length of a list, the names of a record, or None for one value."""


@dataclass(kw_only=True)
class Journal:
    """Predictions that were received so far."""

    file: IO[str]
    rows: int = 0
    """Number of rows with a prediction."""
    versions: dict[str, int] = field(default_factory=dict[str, int])
    """Number of rows that each version predicted, in the order of appearance."""
    layouts: set[Layout] = field(default_factory=set[Layout])
    """Layouts that the predictions have."""

    def add(self, predicted: Predictions) -> None:
        """Add the predictions of one response, and write them to the file."""
        line = [predicted.model_version, predicted.request_id, predicted.predictions]
        self.file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.file.flush()
        self._count(predicted)

    def _count(self, predicted: Predictions) -> None:
        rows = len(predicted.predictions)
        self.rows += rows
        self.versions[predicted.model_version] = self.versions.get(predicted.model_version, 0) + rows
        self.layouts |= {layout(prediction) for prediction in predicted.predictions}

    def entries(self) -> Iterator[Predictions]:
        """Yield the predictions of all responses, in order."""
        self.file.seek(0)
        next(self.file)
        for line in self.file:
            yield _decoded(line)

    def read_back(self) -> int:
        """Count the predictions of an earlier run, and return the end of the last complete line in bytes."""
        end = 0
        with open(self.file.fileno(), "rb", closefd=False) as raw:
            raw.seek(0)
            for number, line in enumerate(raw):
                if not line.endswith(b"\n"):
                    break
                if number:
                    self._count(_decoded(line))
                end += len(line)
        return end


@contextmanager
def journal(path: Path, about: Mapping[str, object]) -> Generator[Journal]:
    """Open the journal at the path, with the predictions of an earlier run.

    Raises:
        InputError: another process has the journal open.
    """
    path.touch()
    with path.open("r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{path} is being written by another `mlops predict`; wait for it, or write another file with --out"
            ) from None
        opened, head = Journal(file=file), json.dumps(about, sort_keys=True) + "\n"
        end = opened.read_back() if file.readline() == head else 0
        file.truncate(end)
        file.seek(0, os.SEEK_END)
        if not end:
            file.write(head)
        yield opened


def layout(prediction: Json) -> Layout:
    """Return the layout of one prediction."""
    if isinstance(prediction, dict):
        return tuple(prediction)
    return len(prediction) if isinstance(prediction, list) else None


def _decoded(line: str | bytes) -> Predictions:
    version, request_id, predictions = json.loads(line)
    return Predictions(model_version=version, request_id=request_id, predictions=predictions)


def columns(layouts: set[Layout]) -> Sequence[str]:
    """Return the names of the prediction columns: one, unless all predictions have the same names or length."""
    only = next(iter(layouts)) if len(layouts) == 1 else None
    if only is None:
        return ["prediction"]
    return [f"prediction_{each}" for each in (range(only) if isinstance(only, int) else only)]
