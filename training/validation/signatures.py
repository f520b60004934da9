"""What a client notices when one signature takes the place of another."""

from collections.abc import Iterator

from mlflow.models import ModelSignature
from mlflow.types import DataType, Schema
from mlflow.types.schema import ColSpec, TensorSpec

Column = ColSpec | TensorSpec

# A client that sends the narrower kind is understood by a model that takes the wider one.
WIDER = [DataType.integer, DataType.long, DataType.float, DataType.double]


def breaking_changes(before: ModelSignature, after: ModelSignature) -> list[str]:
    """What clients of the signature before cannot do any more, a phrase each; empty when they notice nothing.

    An added required column, a removed one and one of another type break a client; an added optional column, one
    that became optional and a wider number do not.
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
    yield from (f"the column {name} is gone" for name in before if name not in after)


def _outputs(before: ModelSignature, after: ModelSignature) -> Iterator[str]:
    old, new = ([*_columns(signature.outputs).items()] for signature in (before, after))
    if [(name, _kind(column)) for name, column in old] != [(name, _kind(column)) for name, column in new]:
        yield f"it answers {_words(after.outputs)}, not {_words(before.outputs)}"


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


def _words(schema: Schema | None) -> str:
    return ", ".join(f"{name}: {_kind(column)}" for name, column in _columns(schema).items()) or "nothing"
