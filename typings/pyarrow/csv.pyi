from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from pyarrow import DataType, PythonFile, RecordBatch, Table

class ReadOptions:
    def __init__(self, *, block_size: int, use_threads: bool, column_names: Sequence[str] | None = None) -> None: ...

class ParseOptions:
    def __init__(self, *, newlines_in_values: bool) -> None: ...

class ConvertOptions:
    def __init__(
        self,
        *,
        column_types: Mapping[str, DataType],
        include_columns: Sequence[str],
        null_values: Sequence[str],
        strings_can_be_null: bool,
    ) -> None: ...

def open_csv(
    input_file: PythonFile, *, read_options: ReadOptions, parse_options: ParseOptions, convert_options: ConvertOptions
) -> Iterator[RecordBatch]: ...

class WriteOptions:
    def __init__(self, *, include_header: bool) -> None: ...

def write_csv(data: Table, output_file: BinaryIO, write_options: WriteOptions) -> None: ...
