"""Reads a model's signature from its MLmodel file without MLflow, which takes seconds to import."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from model_server.predict.types import DTYPES, Kind, kind_of


@dataclass(frozen=True, kw_only=True)
class Column:
    """One input column. `kind` is its MLflow type; "other" is an array, an object, a map or any type."""

    name: str
    kind: Kind
    required: bool = True
    truth_values: Sequence[str] = ()
    """Texts that false and true became in training; empty if the model's metadata do not name them."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The input columns, in order. `named` is False if the model takes a two-dimensional array of numbers."""

    columns: Sequence[Column]
    named: bool = True
    numbered: bool = False
    """True if columns have numbers as names. Only MLflow's own functions find such columns in a body."""
    has_params: bool = False
    """True if the signature has a schema for params."""

    @property
    def names(self) -> list[str]:
        """Return the column names in the order of the signature."""
        return [column.name for column in self.columns]


def read_signature(mlmodel: Mapping[str, Any]) -> Signature | None:
    """Return the signature in an MLmodel file, or None if there is none or it describes no table.

    A tensor counts as a table if it has two dimensions, any number of rows and no name.
    """
    stored = mlmodel.get("signature")
    if not stored or not stored.get("inputs") or mlmodel.get("is_signature_from_type_hint"):
        return None
    has_params = bool(json.loads(stored.get("params") or "null"))
    inputs = cast("list[dict[str, Any]]", json.loads(stored["inputs"]))
    if len(inputs) == 1 and inputs[0]["type"] == "tensor":
        return _tensor(inputs[0], has_params=has_params)
    if not all(entry.get("name") not in {None, ""} for entry in inputs) or any(
        entry["type"] == "tensor" for entry in inputs
    ):
        return None
    own: object = mlmodel.get("metadata")
    truth: object = cast("dict[str, object]", own).get("truth_values") if isinstance(own, dict) else None
    columns = [
        Column(
            name=str(entry["name"]),
            kind=kind_of(entry["type"]),
            required=entry.get("required", True),
            truth_values=_two_texts(cast("dict[object, object]", truth).get(entry["name"]))
            if isinstance(truth, dict)
            else (),
        )
        for entry in inputs
    ]
    numbered = not all(isinstance(entry["name"], str) for entry in inputs)
    return Signature(columns=columns, numbered=numbered, has_params=has_params)


def read_outputs(mlmodel: Mapping[str, Any]) -> list[tuple[str, Kind, bool]]:
    """Return name (may be empty), kind, and whether it is a list, of each output for one row.

    The result is empty if the model declares no outputs, or outputs other than a value or a list for each row.
    """
    stored = cast("dict[str, Any]", mlmodel.get("signature") or {}).get("outputs")
    found: list[tuple[str, Kind, bool]] = []
    for entry in cast("list[dict[str, Any]]", json.loads(stored) if stored else []):
        spec = entry.get("tensor-spec", {"dtype": "", "shape": [-1]})
        kind = DTYPES.get(spec["dtype"], "other") if entry["type"] == "tensor" else kind_of(entry["type"])
        if len(spec["shape"]) not in {1, 2}:
            return []
        found.append((str(entry.get("name", "")), kind, len(spec["shape"]) == 2))
    return found


def _two_texts(found: object) -> Sequence[str]:
    """Return the list if it holds two texts, else nothing: other programs may write other metadata."""
    texts = [one for one in cast("list[object]", found) if isinstance(one, str)] if isinstance(found, list) else []
    return texts if len(texts) == 2 else ()


def _tensor(entry: Mapping[str, Any], *, has_params: bool) -> Signature | None:
    spec = entry["tensor-spec"]
    kind, shape = DTYPES.get(spec["dtype"]), spec["shape"]
    if entry.get("name") or kind not in {"double", "long"} or len(shape) != 2 or shape[0] != -1 or shape[1] < 1:
        return None
    columns = [Column(name=str(position), kind=kind) for position in range(shape[1])]
    return Signature(columns=columns, named=False, has_params=has_params)
