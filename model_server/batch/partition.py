"""Predictions for one Parquet file, by the same predictors as the server's.

The result has the rows of the file in the same order: its columns that are no inputs of the model, then `prediction`,
or `prediction_<name>` for each value if the model predicts several.
"""

import json
import logging
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from model_server.predict.fast.estimators import Texts, Values
from model_server.predict.frames import ModelError
from model_server.predict.model import Model
from model_server.predict.scoring import Request, mlflow_encode, score_by_mlflow
from model_server.predict.signature import Column, Signature
from model_server.predict.types import EXACT, Kind
from model_server.responses import JSON

# pyarrow has no type annotations.
pa, compute, parquet = (cast("Any", import_module(name)) for name in ("pyarrow", "pyarrow.compute", "pyarrow.parquet"))
LOG = logging.getLogger("serving")
PLAIN = frozenset({bool, float, int, str, type(None)})
RESULT = "prediction"
RANGES: Mapping[Kind, tuple[int, int]] = {"long": (-EXACT, EXACT), "integer": (-(2**31), 2**31 - 1)}


class _Schema(Protocol):
    """Schema of pyarrow."""

    names: list[str]

    def field(self, name: str) -> "_Column": ...


class _Column(Protocol):
    """Array or field of pyarrow."""

    type: Any
    null_count: int

    def __len__(self) -> int: ...
    def to_pylist(self) -> list[Any]: ...
    def to_numpy(self, *, zero_copy_only: bool) -> NDArray[Any]: ...
    def dictionary_encode(self) -> "_Dictionary": ...
    def cast(self, target: object, *, safe: bool) -> object: ...


class _Dictionary(Protocol):
    """Dictionary array of pyarrow."""

    dictionary: _Column
    indices: _Column


class _Batch(Protocol):
    """Record batch of pyarrow."""

    num_rows: int
    columns: Sequence[_Column]
    schema: _Schema

    def column(self, name: str | int) -> _Column: ...


class PartitionError(Exception):
    """The partition does not fit the model. The message is a clause about the partition, such as `has no column a`."""


def predict(model: Model, given: Path, made: Path, chunk: int) -> int:
    """Write the predictions for a Parquet file to another one, and return the number of rows.

    Args:
        model: loaded model.
        given: file with the inputs.
        made: file to write.
        chunk: number of rows that the model gets at a time.

    Raises:
        PartitionError: the file is not Parquet, its columns do not fit the model, or the model failed on its rows.
    """
    try:
        file = parquet.ParquetFile(given)
        columns = _checked(file.schema_arrow, model.signature)
        others = [name for name in file.schema_arrow.names if name not in columns]
        predictions = list[object]()
        for batch in file.iter_batches(batch_size=chunk, columns=columns):
            predictions += _predictions(model, batch, len(predictions))
        kept = file.read(columns=others)
    except pa.ArrowException as error:
        raise PartitionError(
            f"is not a Parquet file that can be read ({' '.join(str(error).split())[:200]})"
        ) from error
    results = _columns(predictions)
    if taken := sorted({*others} & results.keys()):
        raise PartitionError(f"has a column {taken[0]}, which is the name of a result; rename it")
    table = {**dict(zip(others, kept.columns, strict=True)), **results}
    parquet.write_table(pa.table(table), made, compression="zstd")
    return len(predictions)


def _checked(schema: _Schema, signature: Signature | None) -> list[str]:
    """Return the columns that the model takes, after a check of their types."""
    if signature is None:
        return schema.names
    wanted = {column.name: column for column in signature.columns} if signature.named else {}
    if missing := [name for name, column in wanted.items() if column.required and name not in schema.names]:
        raise PartitionError(f"has no column {', '.join(missing)}, which the model requires")
    for name in [name for name in wanted if name in schema.names]:
        found = schema.field(name).type
        if not _fits(found, wanted[name]):
            raise PartitionError(f"has the type {found} in column {name}, and the model takes {wanted[name].kind}")
    return [name for name in wanted if name in schema.names] if signature.named else schema.names


def _fits(found: object, column: Column) -> bool:
    """Return whether JSON values of this Arrow type are values of the column."""
    types = pa.types
    number = types.is_integer(found) or types.is_floating(found)
    text = types.is_string(found) or types.is_large_string(found)
    if types.is_dictionary(found):
        return column.kind in {"string", "other"} and _fits(cast("Any", found).value_type, column)
    return {
        "double": number,
        "float": number,
        "long": types.is_integer(found),
        "integer": types.is_integer(found),
        "boolean": types.is_boolean(found),
        "string": text,
        "datetime": text or types.is_timestamp(found) or types.is_date(found),
        "binary": text or types.is_binary(found) or types.is_large_binary(found),
    }.get(column.kind, True)


def _predictions(model: Model, batch: _Batch, first: int) -> list[object]:
    """Return the predictions for the rows, as the server responds to one request with them."""
    columns = _plain_columns(model.signature, batch) if model.decoder and model.signature else None
    found = _by_predictors(model, columns, first, batch.num_rows) if columns else None
    if found is None:
        found = _by_mlflow(model, batch, first)
    if not isinstance(found, list) or len(cast("list[object]", found)) != batch.num_rows:
        raise PartitionError(
            f"has {batch.num_rows} rows from row {first} on, for which the model has no list of as many"
        )
    return cast("list[object]", found)


def _plain_columns(signature: Signature, batch: _Batch) -> list[Values] | None:
    """Return the columns as the server decodes a plain body; None if a body with the rows would not be plain."""
    columns = list[Values]()
    for position, column in enumerate(signature.columns):
        values = batch.column(column.name if signature.named else position)
        if column.kind in {"double", "float"}:
            columns.append(_numbers(values).to_numpy(zero_copy_only=False))
            continue
        if values.null_count or not _is_plain(values, column.kind):
            return None
        columns.append(_texts(values) if column.kind == "string" else values.to_numpy(zero_copy_only=False))
    return columns


def _texts(column: _Column) -> Texts:
    encoded = column.dictionary_encode()
    return Texts(words=encoded.dictionary.to_pylist(), indexes=encoded.indices.to_numpy(zero_copy_only=False))


def _is_plain(values: _Column, kind: Kind) -> bool:
    if kind not in RANGES or not len(values):
        return True
    found, (low, high) = compute.min_max(values).as_py(), RANGES[kind]
    return low <= found["min"] and found["max"] <= high


def _numbers(values: _Column) -> _Column:
    """Return floats; NaN is null, because JSON has no NaN."""
    floats = values.cast(pa.float64(), safe=False)
    return compute.if_else(compute.is_nan(floats), pa.scalar(None, pa.float64()), floats)


def _by_predictors(model: Model, columns: Sequence[Values], first: int, rows: int) -> object:
    for predictor in model.predictors:
        try:
            found = predictor.by_columns(columns)
        except ModelError as error:
            cause = " ".join(str(error.__cause__).split())[:200]
            where = f"rows {first} to {first + rows - 1}"
            raise PartitionError(f"has {where} on which the model fails ({cause})") from error
        except Exception:
            LOG.debug("left to a slower predictor", exc_info=True)
            continue
        if isinstance(found, list) and {type(one) for one in cast("list[object]", found)} <= PLAIN:
            return cast("list[object]", found)
        return json.loads(json.dumps(found, default=mlflow_encode))
    return None


def _by_mlflow(model: Model, batch: _Batch, first: int) -> object:
    """Return the predictions of MLflow's own functions for a JSON body with the rows."""
    columns = [_json(column) for column in batch.columns]
    data = [list(row) for row in zip(*columns, strict=True)]
    is_table = model.signature is None or model.signature.named
    form = {"dataframe_split": {"columns": batch.schema.names, "data": data}} if is_table else {"inputs": data}
    request = Request(content_type=JSON, body=json.dumps(form).encode(), request_id="batch")
    list(score_by_mlflow(model, [request]))
    response = request.response
    found = cast("dict[str, object]", json.loads(response.body) if response and response.media_type == JSON else {})
    if response is None or response.status != 200:
        said = str(found.get("message", ""))[:300]
        raise PartitionError(f"has rows {first} to {first + batch.num_rows - 1} that the model refuses ({said})")
    return found.get("predictions")


def _json(column: _Column) -> list[Any]:
    """Return the values of a column as JSON has them in a request."""
    if pa.types.is_floating(column.type):
        return _numbers(column).to_pylist()
    values = column.to_pylist()
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return [value and value.isoformat() for value in values]
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [None if value is None else b64encode(value).decode() for value in values]
    return values


def _columns(predictions: Sequence[object]) -> dict[str, Any]:
    """Return the columns of the result. Values of several types in one column become JSON texts."""
    records = [cast("dict[str, object]", one) for one in predictions if isinstance(one, dict)]
    if records and len(records) == len(predictions):
        names = dict.fromkeys(name for record in records for name in record)
        return {f"{RESULT}_{name}": _array([record.get(name) for record in records]) for name in names}
    return {RESULT: _array(predictions)}


def _array(values: Sequence[object]) -> object:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError):
        return pa.array([json.dumps(value) for value in values])
