from collections.abc import Iterator, Sequence
from typing import IO

from pyarrow import RecordBatch, Schema

class ParquetFile:
    schema_arrow: Schema
    def __init__(self, source: IO[bytes]) -> None: ...
    def iter_batches(self, *, columns: Sequence[str]) -> Iterator[RecordBatch]: ...
