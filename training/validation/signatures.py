"""Finds the changes between two signatures that break clients."""

from collections.abc import Iterator

from mlflow.models import ModelSignature
from mlflow.types import DataType, Schema
from mlflow.types.schema import ColSpec, TensorSpec

Column = ColSpec | TensorSpec

WIDER = [DataType.integer, DataType.long, DataType.float, DataType.double]
"""Number types from narrow to wide. A model that takes a wider type accepts values of a narrower one."""


def breaking_changes(before: ModelSignature, after: ModelSignature) -> list[str]:
    """Return a phrase for each change that breaks clients of the signature `before`; empty if no change does.

    A new required column, a removed column and a changed type break clients. A new optional column, a column that
    became optional and a wider number type do not.
    """
    return [*_inputs(_columns(before.inputs), _columns(after.inputs)), *_outputs(before, after)]


def _inputs(before: dict[str, Column], after: dict[str, Column]) -> Iterator[str]:
    for name, column in after.items():
        known = before.get(name)
        if known is None and column.required:
            yield f"the column {name} is new and required"
        elif known and column.required and not known.required:
            yield f"the column {name} became required"
        if known and not _is_as_wide(known, column):
            yield f"the column {name} was {_kind(known)} and is {_kind(column)}"
    yield from (f"the column {name} is removed" for name in before if name not in after)


def _outputs(before: ModelSignature, after: ModelSignature) -> Iterator[str]:
    old, new = ([*_columns(signature.outputs).items()] for signature in (before, after))
    if [(name, _kind(column)) for name, column in old] != [(name, _kind(column)) for name, column in new]:
        yield f"the output is {_described(after.outputs)}, not {_described(before.outputs)}"


def _is_as_wide(before: Column, after: Column) -> bool:
    if before.type == after.type:
        return True
    if before.type in WIDER and after.type in WIDER:
        return WIDER.index(before.type) < WIDER.index(after.type)
    return False


def _columns(schema: Schema | None) -> dict[str, Column]:
    return {column.name or f"#{place}": column for place, column in enumerate(schema.inputs if schema else [])}


def _kind(column: Column) -> str:
    return str(column.type).removeprefix("DataType.")


def _described(schema: Schema | None) -> str:
    return ", ".join(f"{name}: {_kind(column)}" for name, column in _columns(schema).items()) or "nothing"
