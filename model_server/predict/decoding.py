"""JSON bodies into rows, for the plain ones: whatever is unusual is left to MLflow's own functions.

A body is plain when every value already has the type of its column, every column is there and no other, and nothing
else stands in it. For those MLflow's casting changes nothing, so its many steps can be left out.
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
ESCAPED = re.compile(r'["\\\x00-\x1f]')  # in a name; the decoder finds keys by their bytes, and JSON escapes these
ORDERS = 64  # decoders kept for other orders of the columns; a client has one
LABEL = Annotated[int, msgspec.Meta(ge=-EXACT, le=EXACT)]


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    data: msgspec.Raw
    columns: list[str]
    index: list[LABEL] | UnsetType = UNSET


class Forms:
    """Reads the JSON forms of MLflow's scoring protocol for one signature.

    A body with params or with an index is plain only with `rows_alone`: for a model that sees neither.
    """

    def __init__(self, signature: Signature, *, rows_alone: bool) -> None:
        self._takes_index = rows_alone
        # A params schema may refuse them.
        self._takes_params = rows_alone and not signature.has_params
        self._signature = signature
        self._names = signature.names
        self._request: Decoder[Any] = Decoder(_request(signature))
        self._ordered = _rows_decoder(signature.columns)
        self._orders: dict[tuple[str, ...], tuple[Decoder[list[Row]], itemgetter[Any]]] = {}

    def rows(self, body: bytes) -> list[Row] | None:
        """The rows of a plain body, at least one; None for any other body, a broken one included."""
        try:
            *given, params = astuple(self._request.decode(body))
            forms = [form for form in given if form is not UNSET]
            if len(forms) != 1 or (params is not UNSET and not self._takes_params):
                return None
            return (self._split(forms[0]) if isinstance(forms[0], _Split) else _tuples(forms[0])) or None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _split(self, form: _Split) -> list[Row] | None:
        rows = self._ordered.decode(form.data) if form.columns == self._names else self._reordered(form)
        if rows is None or form.index is UNSET:
            return rows
        return rows if self._takes_index and len(form.index) == len(rows) else None

    def _reordered(self, form: _Split) -> list[Row] | None:
        order = tuple(form.columns)
        known = self._orders.get(order)
        if known is None:
            if sorted(order) != sorted(self._names):
                return None
            known = (
                _rows_decoder([self._signature.columns[self._names.index(name)] for name in order]),
                # At least two names, or the order could not differ: itemgetter gives tuples.
                itemgetter(*(order.index(name) for name in self._names)),
            )
            if len(self._orders) < ORDERS:
                self._orders[order] = known
        decoder, places = known
        return list(map(places, decoder.decode(form.data)))


def forms_of(signature: Signature | None, *, rows_alone: bool) -> Forms | None:
    """A reader for the signature, or None where MLflow's casting may change any body."""
    if signature is None or signature.numbered or any(map(ESCAPED.search, signature.names)):
        return None
    if not all(column.required and TYPES[column.kind].decoded for column in signature.columns):
        return None
    return Forms(signature, rows_alone=rows_alone)


def _request(signature: Signature) -> type[msgspec.Struct]:
    """All forms, then the params; of a bare array of numbers only the forms that are one."""
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
    """A struct with these keys in JSON, whatever characters they are made of."""
    places = {f"at_{place}": name for place, (name, _) in enumerate(fields)}
    of_type = [kind for _, kind in fields]
    return msgspec.defstruct(title, list(zip(places, of_type, strict=True)), rename=places, forbid_unknown_fields=True)


def _row(columns: Sequence[Column]) -> GenericAlias:
    return GenericAlias(tuple, tuple(TYPES[column.kind].decoded for column in columns))


def _rows_decoder(columns: Sequence[Column]) -> Decoder[list[Row]]:
    return cast("Decoder[list[Row]]", Decoder(cast("Any", GenericAlias(list, _row(columns)))))


def _tuples(form: msgspec.Struct | list[msgspec.Struct] | list[Row]) -> list[Row] | None:
    if isinstance(form, msgspec.Struct):
        lists: Row = astuple(form)
        return list(zip(*lists, strict=True)) if len(set(map(len, lists))) == 1 else None
    return [row if isinstance(row, tuple) else astuple(row) for row in form]
