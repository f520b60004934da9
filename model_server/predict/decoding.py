"""Decodes plain JSON bodies into rows. All other bodies go to MLflow's own functions.

A body is plain when it holds exactly the columns of the signature, every value already has its column's type, and there
is nothing else in it. MLflow's casting would not change such a body, so the server skips it.
"""

import re
from collections.abc import Sequence
from operator import itemgetter
from types import GenericAlias
from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.json import Decoder
from msgspec.structs import astuple

from model_server.predict.signature import Column, Signature
from model_server.predict.types import EXACT, TYPES

Row: TypeAlias = tuple[Any, ...]
"""One value for each column, in the order of the signature: float or None, int, bool or str."""
ESCAPED = re.compile(r'["\\\x00-\x1f]')  # JSON escapes these in names, but the decoder compares the bytes of keys
ORDERS = 64  # cached decoders for other column orders; each client uses one order
INDEX = Annotated[int, msgspec.Meta(ge=-EXACT, le=EXACT)]


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    data: msgspec.Raw
    columns: list[str]
    index: list[INDEX] | UnsetType = UNSET


class BodyDecoder:
    """Decodes the JSON forms of MLflow's scoring protocol for one signature.

    With `values_only`, a body with params or an index is plain too, because the model ignores both.
    """

    def __init__(self, signature: Signature, *, values_only: bool) -> None:
        self._accepts_index = values_only
        # A params schema may reject the params.
        self._accepts_params = values_only and not signature.has_params
        self._signature = signature
        self._names = signature.names
        self._request_decoder: Decoder[Any] = Decoder(_request_type(signature))
        self._ordered = _rows_decoder(signature.columns)
        self._orders: dict[tuple[str, ...], tuple[Decoder[list[Row]], itemgetter[Any]]] = {}

    def rows(self, body: bytes) -> list[Row] | None:
        """Return the rows of a plain body, at least one, or None for any other body, invalid JSON included."""
        try:
            *values, params = astuple(self._request_decoder.decode(body))
            forms = [form for form in values if form is not UNSET]
            if len(forms) != 1 or (params is not UNSET and not self._accepts_params):
                return None
            return (self._split(forms[0]) if isinstance(forms[0], _Split) else _tuples(forms[0])) or None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _split(self, form: _Split) -> list[Row] | None:
        rows = self._ordered.decode(form.data) if form.columns == self._names else self._reordered(form)
        if rows is None or form.index is UNSET:
            return rows
        return rows if self._accepts_index and len(form.index) == len(rows) else None

    def _reordered(self, form: _Split) -> list[Row] | None:
        order = tuple(form.columns)
        known = self._orders.get(order)
        if known is None:
            if sorted(order) != sorted(self._names):
                return None
            known = (
                _rows_decoder([self._signature.columns[self._names.index(name)] for name in order]),
                # There are at least two names, because the order differs, so itemgetter returns tuples.
                itemgetter(*(order.index(name) for name in self._names)),
            )
            if len(self._orders) < ORDERS:
                self._orders[order] = known
        decoder, positions = known
        return list(map(positions, decoder.decode(form.data)))


def body_decoder(signature: Signature | None, *, values_only: bool) -> BodyDecoder | None:
    """Return a decoder for the signature, or None if MLflow's casting may change any body."""
    if signature is None or signature.numbered or any(map(ESCAPED.search, signature.names)):
        return None
    if not all(column.required and TYPES[column.kind].decoded for column in signature.columns):
        return None
    return BodyDecoder(signature, values_only=values_only)


def _request_type(signature: Signature) -> type[msgspec.Struct]:
    """Return a struct with all forms and the params. A tensor signature has only the forms that are arrays."""
    if signature.named:
        record = _struct("Record", [(one.name, TYPES[one.kind].decoded) for one in signature.columns])
        lists = _struct(
            "Lists", [(column.name, GenericAlias(list, TYPES[column.kind].decoded)) for column in signature.columns]
        )
        records = GenericAlias(list, record)
        inputs = cast("Any", records) | lists
        forms: dict[str, Any] = {
            "dataframe_split": _Split,
            "dataframe_records": records,
            "instances": records,
            "inputs": inputs,
        }
    else:
        rows = cast("Any", GenericAlias(list, _row(signature.columns)))
        forms = {"instances": rows, "inputs": rows}
    fields = [(name, form | UnsetType, UNSET) for name, form in forms.items()]
    return msgspec.defstruct("Request", [*fields, ("params", Any, UNSET)], forbid_unknown_fields=True)


def _struct(title: str, fields: Sequence[tuple[str, Any]]) -> type[msgspec.Struct]:
    """Return a struct with these JSON keys. A key may contain any character."""
    positions = {f"at_{position}": name for position, (name, _) in enumerate(fields)}
    of_type = [kind for _, kind in fields]
    return msgspec.defstruct(
        title, list(zip(positions, of_type, strict=True)), rename=positions, forbid_unknown_fields=True
    )


def _row(columns: Sequence[Column]) -> GenericAlias:
    return GenericAlias(tuple, tuple(TYPES[column.kind].decoded for column in columns))


def _rows_decoder(columns: Sequence[Column]) -> Decoder[list[Row]]:
    return cast("Decoder[list[Row]]", Decoder(cast("Any", GenericAlias(list, _row(columns)))))


def _tuples(form: msgspec.Struct | list[msgspec.Struct] | list[Row]) -> list[Row] | None:
    if isinstance(form, msgspec.Struct):
        lists: Row = astuple(form)
        return list(zip(*lists, strict=True)) if len(set(map(len, lists))) == 1 else None
    return [row if isinstance(row, tuple) else astuple(row) for row in form]
