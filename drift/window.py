"""Counts of one window of the prediction log: what the reference is compared with, in bounded memory.

A window is divided into blocks of equal length, for example 24 hours. The rows of a block may depend on each other: a
client sends many rows at once, and the hour of the day decides who asks. So everything is counted by block.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import md5

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from drift.reference import Column, Numbers, Reference, Words

BLOCKS = 24
"""Number of blocks of a window."""
SAMPLE = 5_000
"""Largest number of rows that a window keeps as a random sample."""
WORDS_NAMED = 1_000
"""Largest number of new words of one column that are counted by name."""


@dataclass(kw_only=True)
class Counts:
    """Counts of one column, by block."""

    bins: NDArray[np.int64]
    """Rows of each block (first axis) in each bin of the reference (second axis)."""
    missing: NDArray[np.int64]
    """Rows of each block without a value."""
    below: int = 0
    """Rows below the smallest value of the training."""
    above: int = 0
    """Rows above the largest value of the training."""
    new: Counter[str] = field(default_factory=Counter[str])
    """Rows of each word that the reference does not list."""


class Window:
    """Rows of one window, as counts and as a random sample."""

    def __init__(self, reference: Reference, start: datetime, end: datetime) -> None:
        self.reference, self.start, self.end = reference, start, end
        self.rows = 0
        """Number of rows."""
        self.outside = 0
        """Number of rows whose time is not in the window; they are not counted elsewhere."""
        self.by_block: NDArray[np.int64] = np.zeros(BLOCKS, dtype="int64")
        """Number of rows in each block."""
        self.columns = {one.name: _empty(one) for one in reference.features}
        self.prediction = _empty(reference.prediction) if reference.prediction else None
        self.absent: set[str] = set()
        """Features that a file of the log does not have."""
        self._length = (end - start) / BLOCKS
        self._kept: list[pa.Table] = []
        self._keys: NDArray[np.uint64] = np.zeros(0, dtype="uint64")

    @staticmethod
    def is_read(column: str) -> bool:
        """Return whether a window needs this column of the log."""
        return column in {"request_id", "row", "at", "prediction"} or column.startswith("input_")

    def add(self, table: pa.Table) -> None:
        """Count the rows of a table of the prediction log."""
        times = table.column("at").cast(pa.int64()).to_numpy()
        block = (times - _microseconds(self.start)) // (self._length // timedelta(microseconds=1))
        if not (inside := (block >= 0) & (block < BLOCKS)).all():
            self.outside += int((~inside).sum())
            table, block = table.filter(pa.array(inside)), block[inside]
        self.rows += len(block)
        self.by_block += np.bincount(block, minlength=BLOCKS)
        for one in self.reference.features:
            name = f"input_{one.name}"
            if name in table.column_names:
                _count(self.columns[one.name], one, table.column(name), block)
            else:
                self.absent.add(one.name)
        if self.reference.prediction and self.prediction and "prediction" in table.column_names:
            _count(self.prediction, self.reference.prediction, table.column("prediction"), block)
        self.keep(table, block)

    def sample(self) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        """Return a random sample of the rows, with the features' own names and `prediction`, and the rows' blocks.

        A hash of its key decides whether a row is in the sample, so the same log always gives the same sample.
        """
        self._shrink()
        if not self._kept:
            return pd.DataFrame(), np.zeros(0, dtype="int64")
        table = pa.concat_tables(self._kept, promote_options="permissive")
        frame = table.drop(["block"]).to_pandas()
        frame.columns = [str(name).removeprefix("input_") for name in frame.columns]
        return frame, table.column("block").to_numpy().astype("int64")

    def keep(self, table: pa.Table, block: NDArray[np.int64]) -> None:
        """Keep those rows of a table that belong to the sample."""
        keys = _hashes(table)
        take = np.arange(len(keys))
        if len(self._keys) > SAMPLE:
            take = np.flatnonzero(keys < np.partition(self._keys, SAMPLE)[SAMPLE])
        if not len(take):
            return
        names = [name for name in table.column_names if name.startswith("input_") or name == "prediction"]
        self._kept.append(table.select(names).append_column("block", pa.array(block)).take(pa.array(take)))
        self._keys = np.concatenate([self._keys, keys[take]])
        if len(self._keys) > 4 * SAMPLE:
            self._shrink()

    def _shrink(self) -> None:
        """Keep the rows with the smallest hashes, in their order."""
        if self._kept:
            take = np.argsort(self._keys, kind="stable")[:SAMPLE]
            self._kept = [pa.concat_tables(self._kept, promote_options="permissive").take(pa.array(take))]
            self._keys = self._keys[take]


def aligned(now: datetime, length: timedelta) -> tuple[datetime, datetime]:
    """Return start and end of the last whole window before `now`; windows begin at multiples of their length in UTC."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    end = epoch + (now - epoch) // length * length
    return end - length, end


def _hashes(table: pa.Table) -> NDArray[np.uint64]:
    """Return a hash of each row's key: request, row and second. drift/sql.py has the same in SQL."""
    seconds = (table.column("at").cast(pa.int64()).to_numpy() // 1_000_000).tolist()
    keys = zip(table.column("request_id").to_pylist(), table.column("row").to_pylist(), seconds, strict=True)
    digests = b"".join(md5(f"{one}/{row}/{at}".encode(), usedforsecurity=False).digest()[:8] for one, row, at in keys)
    return np.frombuffer(digests, dtype=">u8").astype("uint64")


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _empty(one: Column) -> Counts:
    return Counts(bins=np.zeros((BLOCKS, len(one.counts)), dtype="int64"), missing=np.zeros(BLOCKS, dtype="int64"))


def _count(counts: Counts, one: Column, values: pa.ChunkedArray, block: NDArray[np.int64]) -> None:
    if isinstance(one, Numbers):
        _count_numbers(counts, one, values, block)
    else:
        _count_words(counts, one, values, block)


def _count_numbers(counts: Counts, one: Numbers, values: pa.ChunkedArray, block: NDArray[np.int64]) -> None:
    number: NDArray[np.float64] = values.cast(pa.float64()).to_numpy()
    gaps = np.isnan(number)
    counts.missing += np.bincount(block[gaps], minlength=BLOCKS)
    if gaps.any():
        number, block = number[~gaps], block[~gaps]
    counts.below += int((number < one.least).sum())
    counts.above += int((number > one.most).sum())
    place = np.searchsorted(one.edges, number, side="right" if one.open_right else "left")
    counts.bins += _by_block(place, block, len(one.counts))


def _count_words(counts: Counts, one: Words, values: pa.ChunkedArray, block: NDArray[np.int64]) -> None:
    coded = values.combine_chunks().dictionary_encode()
    present: Sequence[object] = coded.dictionary.to_pylist()
    listed = {word: position for position, word in enumerate(one.words)}
    other = len(one.words)
    positions = np.array([listed.get(str(word), other) for word in present] or [other])
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    gaps = codes < 0
    counts.missing += np.bincount(block[gaps], minlength=BLOCKS)
    counts.bins += _by_block(positions[codes[~gaps]], block[~gaps], len(one.counts))
    for code in np.flatnonzero(positions == other) if present else ():
        word = str(present[code])
        if word in counts.new or len(counts.new) < WORDS_NAMED:
            counts.new[word] += int((codes == code).sum())


def _by_block(place: NDArray[np.int64], block: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    return np.bincount(block * width + place, minlength=BLOCKS * width).reshape(BLOCKS, width)
