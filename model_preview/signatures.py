"""Describes what clients of an endpoint notice when the signature of its model changes.

A validation judges by the same rules (training/validation/signatures.py); a test checks that both agree.
"""

from collections.abc import Iterator, Mapping

from model_preview.facts import Column, Frozen, Signature

# From narrow to wide: a model that takes a wider type also accepts values of a narrower type.
WIDER = ("integer", "long", "float", "double")


class SignatureChange(Frozen):
    """Difference of two signatures, one phrase for each change."""

    breaking: tuple[str, ...] = ()
    """Changes after which a client of the old signature fails or gets other values in the response."""
    harmless: tuple[str, ...] = ()
    """Changes that a client of the old signature does not notice."""


def compare(old: Signature, new: Signature) -> SignatureChange:
    """Return the changes for clients of the old signature."""
    before, after = ({column.name: column for column in one.inputs} for one in (old, new))
    found = [*_inputs(before, after), *_outputs(old, new)]
    return SignatureChange(
        breaking=tuple(said for said, breaks in found if breaks),
        harmless=tuple(said for said, breaks in found if not breaks),
    )


def _inputs(before: Mapping[str, Column], after: Mapping[str, Column]) -> Iterator[tuple[str, bool]]:
    """Yield each change of the inputs, and whether it breaks a client."""
    for name, column in after.items():
        known = before.get(name)
        if known is None:
            need = "required" if column.required else "optional"
            yield f"column {name} ({column.kind}, {need}) is added", column.required
            continue
        if column.required != known.required:
            yield f"column {name} becomes {'required' if column.required else 'optional'}", column.required
        if column.kind != known.kind:
            yield f"column {name} changes its type from {known.kind} to {column.kind}", not _is_wider(known, column)
    yield from (
        (f"column {name} ({column.kind}) is removed", True) for name, column in before.items() if name not in after
    )


def _outputs(old: Signature, new: Signature) -> Iterator[tuple[str, bool]]:
    before, after = ([(column.name, column.kind) for column in one.outputs] for one in (old, new))
    if before != after:
        yield f"the response changes from {_words(before)} to {_words(after)}", True


def _is_wider(old: Column, new: Column) -> bool:
    return {old.kind, new.kind} <= {*WIDER} and WIDER.index(old.kind) < WIDER.index(new.kind)


def _words(columns: list[tuple[str, str]]) -> str:
    return ", ".join(kind if name.startswith("#") else f"{name} ({kind})" for name, kind in columns) or "nothing"
