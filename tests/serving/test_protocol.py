"""The same requests to MLflow's own scoring server and to ours."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Protocol, cast

import httpx
import pandas as pd
import pytest
from mlflow.pyfunc import PyFuncModel, scoring_server
from starlette.types import ASGIApp

from serving import protocol
from tests.registry import MODEL


class _ScoringServer(Protocol):
    def init(self, model: PyFuncModel) -> ASGIApp: ...


@pytest.fixture(scope="module")
def mlflow_app(loaded: PyFuncModel) -> ASGIApp:
    return cast("_ScoringServer", scoring_server).init(loaded)


@pytest.fixture(scope="module")
def rows(models: Path) -> pd.DataFrame:
    example = json.loads((models / MODEL / "1" / "serving_input_example.json").read_text())["dataframe_split"]
    return pd.DataFrame(example["data"], columns=example["columns"])


def post(app: ASGIApp, body: bytes, content_type: str) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mlflow") as client:
            return await client.post("/invocations", content=body, headers={"content-type": content_type})

    return asyncio.run(send())


def split(rows: pd.DataFrame) -> object:
    return {"columns": list(rows.columns), "data": rows.to_numpy().tolist()}


def documented_forms(rows: pd.DataFrame) -> dict[str, tuple[str | bytes, str]]:
    records = rows.to_dict(orient="records")
    json_forms: dict[str, object] = {
        "split": {"dataframe_split": split(rows)},
        "split with an index": {"dataframe_split": {"index": [5, 6, 7], **cast("dict[str, object]", split(rows))}},
        "records": {"dataframe_records": records},
        "instances": {"instances": records},
        "inputs": {"inputs": rows.to_dict(orient="list")},
        "one row": {"dataframe_split": split(rows.head(1))},
        "a whole number where a real one may stand": {"dataframe_records": [records[0] | {"monthly_charges": 30}]},
        "a missing total": {"dataframe_records": [records[0] | {"total_charges": None}]},
        "columns in another order": {"dataframe_split": split(rows[list(reversed(list(rows.columns)))])},
        "one column too many": {"dataframe_split": split(rows.assign(more=1))},
        "empty params": {"dataframe_split": split(rows), "params": {}},
        "params that the model does not know": {"dataframe_split": split(rows), "params": {"depth": 2}},
        "a missing column": {"dataframe_split": split(rows.drop(columns=["tenure"]))},
        "a word for a number": {"dataframe_records": [records[0] | {"tenure": "long"}]},
        "a fraction for a whole number": {"dataframe_records": [records[0] | {"tenure": 1.5}]},
        "a number for a word": {"dataframe_records": [records[0] | {"contract": 7}]},
        "nothing for a whole number": {"dataframe_records": [records[0] | {"tenure": None}]},
        "no rows": {"dataframe_split": split(rows.head(0))},
        "two forms at once": {"dataframe_split": split(rows), "inputs": {}},
        "no form": {"rows": records},
        "a list": records,
        "a number": 5,
        "instances without columns": {"instances": [1, 2]},
        "records that are none": {"dataframe_records": "x"},
    }
    others: dict[str, tuple[str | bytes, str]] = {
        "CSV": (rows.to_csv(index=False), "text/csv"),
        "CSV with a charset": (rows.to_csv(index=False), "text/csv; charset=utf-8"),
        "CSV with a missing total": (rows.assign(total_charges=None).to_csv(index=False), "text/csv"),
        "CSV without a column": (rows.drop(columns=["tenure"]).to_csv(index=False), "text/csv"),
        "CSV with a word for a number": (rows.assign(tenure="x").to_csv(index=False), "text/csv"),
        "empty CSV": ("", "text/csv"),
        "JSON with a charset": (json.dumps({"dataframe_split": split(rows)}), "application/json; charset=UTF-8"),
        "no JSON": ("{", "application/json"),
        "nothing": ("", "application/json"),
        "not UTF-8": (b"\xff\xfe{}", "application/json"),
        "another charset": ("{}", "application/json; charset=latin-1"),
        "a parameter of the content type": ("{}", "application/json; format=split"),
        "another content type": ("<x/>", "application/xml"),
        "a parquet that is none": (b"PAR", "application/vnd.apache.parquet"),
    }
    return others | {name: (json.dumps(form), "application/json") for name, form in json_forms.items()}


FORMS = list(documented_forms(pd.DataFrame({"tenure": [1], "total_charges": [1.0], "monthly_charges": [1.0]})))


@pytest.mark.parametrize("name", FORMS)
def test_answers_are_those_of_mlflow(name: str, loaded: PyFuncModel, mlflow_app: ASGIApp, rows: pd.DataFrame) -> None:
    content, content_type = documented_forms(rows)[name]
    body = content if isinstance(content, bytes) else content.encode()
    theirs = post(mlflow_app, body, content_type)
    ours = protocol.answer(loaded, content_type, body)
    assert (ours.status, ours.media_type) == (theirs.status_code, theirs.headers["content-type"].split(";")[0])
    assert without_trace(ours.body) == without_trace(theirs.text)
    assert "stack_trace" not in ours.body


def without_trace(body: str) -> object:
    """A refusal of ours lacks MLflow's stack trace, on purpose."""
    try:
        said = json.loads(body)
    except json.JSONDecodeError:
        return body
    if isinstance(said, dict):
        cast("dict[str, object]", said).pop("stack_trace", None)
    return cast("object", said)


def test_a_request_without_a_content_type_is_told_which_there_are(loaded: PyFuncModel) -> None:
    said = protocol.answer(loaded, None, b"{}")
    assert said.status == 415
    assert "application/json" in said.body


def test_the_case_of_a_content_type_does_not_matter(loaded: PyFuncModel, rows: pd.DataFrame) -> None:
    body = json.dumps({"dataframe_split": split(rows)}).encode()
    assert protocol.answer(loaded, "Application/JSON; Charset=UTF-8", body).status == 200


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
    loaded: PyFuncModel, caplog: pytest.LogCaptureFixture, content_type: str, body: bytes
) -> None:
    caplog.set_level(logging.INFO, "serving")
    said = protocol.answer(loaded, content_type, body)
    ours = [record for record in caplog.records if record.name == "serving"]
    assert said.status >= 400
    assert len(ours) == 1
    assert "4111" not in json.dumps({**ours[0].__dict__, "exc_info": None, "exc_text": None}, default=str)
