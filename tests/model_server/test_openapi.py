import json
from collections.abc import Mapping
from typing import Any

import pytest

from model_server.openapi import document
from model_server.predict.schema import request_schema
from model_server.predict.signature import Column, Signature

SCHEMA = request_schema(Signature(columns=[Column(name="a", kind="double")]), "m")
PATHS: Mapping[str, Any] = document("m version 3", "3", SCHEMA)["paths"]


def test_the_body_of_a_prediction_is_what_schema_says() -> None:
    asked = PATHS["/invocations"]["post"]["requestBody"]["content"]
    assert asked["application/json"]["schema"] == SCHEMA
    assert "text/csv" in asked


@pytest.mark.parametrize("status", ["200", "400", "408", "413", "415", "429", "500", "503", "504"])
def test_each_answer_of_a_prediction_is_described(status: str) -> None:
    assert PATHS["/invocations"]["post"]["responses"][status]["description"]


def test_each_page_has_an_operation_of_its_own() -> None:
    names = [operation["operationId"] for page in PATHS.values() for operation in page.values()]
    assert len(set(names)) == len(names) == 7
    json.dumps(PATHS)
