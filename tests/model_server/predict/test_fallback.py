"""Requests that MLflow's functions answer: every error, and every body that is not plain."""

import json
import logging
import re
from pathlib import Path

import pytest

from model_server.predict.model import Model
from tests.registry import MODEL


def test_a_request_without_a_content_type_gets_a_list_of_them(loaded: Model) -> None:
    said = loaded.respond_by_mlflow(None, b"{}")
    assert said.status == 415
    assert b"application/json" in said.body


def test_the_case_of_a_content_type_does_not_matter(loaded: Model, models: Path) -> None:
    body = (models / MODEL / "1" / "serving_input_example.json").read_bytes()
    assert loaded.respond_by_mlflow("Application/JSON; Charset=UTF-8", body).status == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"dataframe_records": [{"tenure": "4111-1111"}]}'),
        ("application/json", b'{"instances": "4111-1111"'),
        ("text/csv", b"tenure\n4111-1111\n"),
        ("application/json", b"[" * 100_000 + b"4111-1111"),
        ("application/4111-1111", b""),
    ],
)
def test_a_refusal_is_one_line_in_the_log_without_the_payload(
    loaded: Model, caplog: pytest.LogCaptureFixture, content_type: str, body: bytes
) -> None:
    caplog.set_level(logging.INFO, "serving")
    said = loaded.respond_by_mlflow(content_type, body)
    ours = [record for record in caplog.records if record.name == "serving"]
    assert said.status >= 400
    assert len(ours) == 1
    assert "4111" not in json.dumps({**ours[0].__dict__, "exc_info": None, "exc_text": None}, default=str)


def message(loaded: Model, body: str) -> str:
    return str(json.loads(loaded.respond_by_mlflow("application/json", body.encode()).body)["message"])


def test_a_refusal_by_the_schema_begins_with_the_column(loaded: Model) -> None:
    said = message(loaded, '{"dataframe_records": [{"tenure": 3}]}')
    assert re.match(r"Model is missing inputs \['", said)
    assert said.endswith("GET /schema describes the request.")
    assert "Failed to" not in said


@pytest.mark.parametrize("body", ["{}", '{"tenure": 3}'])
def test_a_body_without_a_form_is_shown_one_and_not_sent_back_to_mlflow_1(loaded: Model, body: str) -> None:
    said = message(loaded, body)
    assert "1.30.0" not in said
    assert "dataframe_records" in said
    assert said.index("exactly one of") < said.index("GET /schema")


def test_a_parameter_of_the_content_type_is_not_blamed_on_mlflow_1(loaded: Model) -> None:
    said = loaded.respond_by_mlflow("application/json; format=split", b"{}")
    assert said.status == 415
    assert b"1.30.0" not in said.body
