import json
from typing import Any

import pytest

from model_server.predict.decoding import BodyDecoder, body_decoder
from model_server.predict.signature import Column, Signature

SIGNATURE = Signature(columns=[Column(name="x y", kind="double"), Column(name="n", kind="long")])
ROWS = [(0.5, 1), (None, 2)]


@pytest.fixture
def forms() -> BodyDecoder:
    made = body_decoder(SIGNATURE, values_only=True)
    assert made
    return made


RECORDS = [{"x y": 0.5, "n": 1}, {"n": 2, "x y": None}]
SPLIT = {"columns": ["x y", "n"], "data": [[0.5, 1], [None, 2]]}
REORDERED = {"columns": ["n", "x y"], "data": [[1, 0.5], [2, None]]}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"inputs": RECORDS},
        {"inputs": {"x y": [0.5, None], "n": [1, 2]}},
        {"dataframe_split": SPLIT},
        {"dataframe_split": REORDERED},
        {"dataframe_split": SPLIT | {"index": [7, 7]}},
        {"dataframe_split": SPLIT, "params": {"any": ["thing"]}},
    ],
)
def test_plain_bodies_of_every_form_are_the_same_rows(forms: BodyDecoder, body: Any) -> None:
    assert forms.rows(json.dumps(body).encode()) == ROWS


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"x y": "0.5", "n": 1}]},
        {"dataframe_records": [{"x y": 0.5, "n": 1.0}]},
        {"dataframe_records": [{"x y": 0.5, "n": 2**53 + 1}]},
        {"dataframe_records": [{"x y": True, "n": 1}]},
        {"dataframe_records": [{"x y": 0.5, "n": None}]},
        {"dataframe_records": [{"x y": 0.5}]},
        {"dataframe_records": [{"x y": 0.5, "n": 1, "more": 2}]},
        {"dataframe_records": []},
        {"dataframe_split": SPLIT | {"index": [1]}},
        {"dataframe_split": SPLIT | {"columns": ["x y", "m"]}},
        {"dataframe_split": SPLIT, "instances": RECORDS},
        {"dataframe_split": SPLIT, "prompt": "x"},
        {"inputs": {"x y": [0.5, None], "n": [1]}},
        {"inputs": {"x y": float("nan"), "n": 1}},
        [],
    ],
)
def test_what_mlflow_would_cast_or_refuse_is_left_to_it(forms: BodyDecoder, body: Any) -> None:
    assert forms.rows(json.dumps(body).encode()) is None


@pytest.mark.parametrize(("kind", "least", "most"), [("integer", -(2**31), 2**31 - 1), ("long", -(2**53), 2**53)])
def test_a_whole_number_that_its_column_cannot_hold_exactly_is_left_to_mlflow(kind: Any, least: int, most: int) -> None:
    forms = body_decoder(Signature(columns=[Column(name="n", kind=kind)]), values_only=True)
    assert forms
    values = (least - 1, least, most, most + 1)
    read = [forms.rows(json.dumps({"inputs": [{"n": value}]}).encode()) for value in values]
    assert read == [None, [(least,)], [(most,)], None]


def test_an_order_of_columns_that_is_not_remembered_is_read_all_the_same(
    forms: BodyDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_server.predict.decoding.ORDERS", 0)
    assert forms.rows(json.dumps({"dataframe_split": REORDERED}).encode()) == ROWS


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a\tb"])
def test_a_name_that_json_escapes_leaves_all_bodies_to_mlflow(name: str) -> None:
    assert body_decoder(Signature(columns=[Column(name=name, kind="double")]), values_only=True) is None


@pytest.mark.parametrize("kind", ["datetime", "binary", "other"])
def test_a_signature_with_a_type_that_needs_casting_has_no_plain_bodies(kind: Any) -> None:
    assert body_decoder(Signature(columns=[Column(name="x", kind=kind)]), values_only=True) is None


def test_a_model_that_sees_more_than_rows_gets_bodies_with_an_index_or_params_from_mlflow() -> None:
    forms = body_decoder(SIGNATURE, values_only=False)
    assert forms
    assert forms.rows(json.dumps({"dataframe_split": SPLIT}).encode()) == ROWS
    assert forms.rows(json.dumps({"dataframe_split": SPLIT | {"index": [0, 1]}}).encode()) is None
    assert forms.rows(json.dumps({"dataframe_split": SPLIT, "params": None}).encode()) is None
