from typing import Any

from model_server.predict.schema import request_schema
from model_server.predict.signature import Column, Signature
from model_server.predict.types import Kind


def test_a_record_needs_the_columns_that_the_model_requires() -> None:
    columns = [Column(name="a", kind="double"), Column(name="b", kind="string", required=False)]
    record = request_schema(Signature(columns=columns), "m")["properties"]["instances"]["items"]
    assert record["required"] == ["a"]
    assert record["properties"]["b"] == {"type": ["string", "null"]}


def test_a_model_of_bare_numbers_takes_rows_of_its_width() -> None:
    columns = [Column(name=str(place), kind="double") for place in range(3)]
    schema = request_schema(Signature(columns=columns, named=False), "m")
    assert schema["properties"]["inputs"]["items"]["minItems"] == 3
    assert schema["oneOf"] == [{"required": ["instances"]}, {"required": ["inputs"]}]


def test_a_model_without_a_signature_takes_any_of_the_forms() -> None:
    forms = {"dataframe_split", "dataframe_records", "instances", "inputs"}
    assert request_schema(None, "m")["properties"].keys() == forms | {"params"}


def test_what_the_model_says_of_its_predictions_is_there_where_it_means_one_thing() -> None:
    def prediction(*outputs: tuple[str, Kind, bool]) -> object:
        return request_schema(None, "m", outputs)["$defs"]["prediction"]

    assert prediction(("", "long", False)) == {"type": "integer"}
    assert prediction(("", "string", True)) == {"type": "array", "items": {"type": ["string", "null"]}}
    record: Any = prediction(("label", "long", False), ("score", "double", False))
    assert record["required"] == ["label", "score"]
    assert prediction() == prediction(("label", "long", False)) == {}
