"""What is left to MLflow: every refusal, and every body that is not plain."""

import json
import logging
from pathlib import Path

import pytest

from serving.model import Model
from tests.registry import MODEL


def test_a_request_without_a_content_type_is_told_which_there_are(loaded: Model) -> None:
    said = loaded.left_to_mlflow(None, b"{}")
    assert said.status == 415
    assert b"application/json" in said.body


def test_the_case_of_a_content_type_does_not_matter(loaded: Model, models: Path) -> None:
    body = (models / MODEL / "1" / "serving_input_example.json").read_bytes()
    assert loaded.left_to_mlflow("Application/JSON; Charset=UTF-8", body).status == 200


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
    said = loaded.left_to_mlflow(content_type, body)
    ours = [record for record in caplog.records if record.name == "serving"]
    assert said.status >= 400
    assert len(ours) == 1
    assert "4111" not in json.dumps({**ours[0].__dict__, "exc_info": None, "exc_text": None}, default=str)
