"""Our server gives the same responses as MLflow's scoring server, in batches too."""

import asyncio
import json
import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

import httpx
import pandas as pd
import pytest
from mlflow.pyfunc import PyFuncModel, scoring_server
from starlette.types import ASGIApp

from model_server.predict import model
from model_server.predict.fallback import load, plainly
from model_server.predict.model import Model
from model_server.predict.scoring import Request, score, score_by_mlflow
from model_server.responses import Response
from tests.model_server.payloads import Payload, payloads
from tests.model_server.zoo import QUICK, ZOO
from tests.registry import MODEL

pytestmark = pytest.mark.long

PAYLOADS = 50  # for each model


class _ScoringServer(Protocol):
    def init(self, model: PyFuncModel) -> ASGIApp: ...


@pytest.fixture(scope="module")
def rows(models: Path) -> pd.DataFrame:
    example = json.loads((models / MODEL / "1" / "serving_input_example.json").read_text())["dataframe_split"]
    return pd.DataFrame(example["data"], columns=example["columns"])


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("zoo")
    return {name: save(folder / name.replace(" ", "_")) for name, save in ZOO.items()}


def theirs(folder: Path, sent: Sequence[Payload]) -> list[httpx.Response]:
    app = cast("_ScoringServer", scoring_server).init(load(folder))

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(cast("Any", app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://mlflow") as client:
            return [
                await client.post("/invocations", content=one.body, headers={"content-type": one.content_type})
                for one in sent
            ]

    return asyncio.run(send())


def ours(loaded: Model, sent: Sequence[Payload]) -> list[Response]:
    """Return the responses to the requests in one batch."""
    requests = [Request(content_type=one.content_type, body=one.body, request_id="x") for one in sent]
    answered(loaded, requests)
    return [cast("Response", request.response) for request in requests]


def answered(loaded: Model, requests: Sequence[Request]) -> list[Request]:
    """Return the requests in the order in which they are answered."""
    left: list[Request] = []
    groups = chain(score(loaded, left.append, requests), score_by_mlflow(loaded, left))
    return list(chain.from_iterable(groups))


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
        "Parquet": (rows.to_parquet(), "application/vnd.apache.parquet"),
        "Parquet without a column": (rows.drop(columns=["tenure"]).to_parquet(), "application/vnd.apache.parquet"),
        "a parquet that is none": (b"PAR", "application/vnd.apache.parquet"),
    }
    return others | {name: (json.dumps(form), "application/json") for name, form in json_forms.items()}


def differences(folder: Path, loaded: Model, sent: Sequence[Payload]) -> list[object]:
    return [
        (one.body[:300], response, said.status_code, said.text)
        for one, response, said in zip(sent, ours(loaded, sent), theirs(folder, sent), strict=True)
        if not same(response, said)
    ]


def same(response: Response, said: httpx.Response) -> bool:
    """Return whether status, content type and body equal MLflow's, apart from stack traces and plainer messages.

    Where MLflow's server crashes, ours must return an error.
    """
    if said.status_code == 500 and said.text == "Internal Server Error":
        return response.status == 400
    alike = (response.status, response.media_type.split(";")[0]) == (
        said.status_code,
        said.headers["content-type"].split(";")[0],
    )
    if said.status_code == 200 or response.media_type.startswith("text"):
        return alike and response.body.decode() == plainly(said.text)
    body = said.json()
    body.pop("stack_trace", None)
    body["message"] = plainly(body["message"])
    return alike and json.loads(response.body) == body


@pytest.mark.filterwarnings("ignore")
def test_every_documented_form_is_answered_as_by_mlflow(models: Path, loaded: Model, rows: pd.DataFrame) -> None:
    sent = [
        Payload(content if isinstance(content, bytes) else content.encode(), content_type)
        for content, content_type in documented_forms(rows).values()
    ]
    assert differences(models / MODEL / "1", loaded, sent) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ZOO)
def test_generated_payloads_good_and_broken_are_answered_as_by_mlflow(name: str, zoo: dict[str, Path]) -> None:
    loaded = model.load(zoo[name], name)
    assert loaded.signature
    sent = list(payloads(loaded.signature, PAYLOADS, seed=list(ZOO).index(name)))
    assert differences(zoo[name], loaded, sent) == []


@pytest.mark.filterwarnings("ignore")
def test_generated_payloads_of_the_churn_model_are_answered_as_by_mlflow(models: Path, loaded: Model) -> None:
    assert loaded.signature
    sent = list(payloads(loaded.signature, PAYLOADS, seed=99))
    assert differences(models / MODEL / "1", loaded, sent) == []


@pytest.mark.parametrize("name", QUICK)
def test_in_whatever_batch_a_request_comes_its_answer_is_scikit_learns_to_the_last_bit(
    name: str, zoo: dict[str, Path]
) -> None:
    loaded = model.load(zoo[name], name)
    assert loaded.batched
    quick, sure = loaded.predictors
    rng = random.Random(name)
    for _ in range(5):
        sizes = [rng.choice((1, 1, 2, 3, 70)) for _ in range(rng.randint(1, 9))]
        rows = [(rng.gauss(0, 2), rng.randint(-60, 60), rng.gauss(1, 1), rng.randint(0, 9)) for _ in range(sum(sizes))]
        assert repr(quick(rows, sizes)) == repr(sure(rows, sizes))


def test_the_churn_model_needs_no_table(loaded: Model) -> None:
    assert loaded.batched


def test_one_request_with_a_gap_does_not_slow_down_those_beside_it(zoo: dict[str, Path]) -> None:
    """A regression refuses missing values, and requests for the fallback come last."""
    loaded = model.load(zoo["probabilities of a regression"], "regression")
    bodies = [json.dumps({"inputs": [{"a": a, "b": 1, "c": 2, "d": 3}]}).encode() for a in (1.5, None, 2.5)]
    requests = [Request(content_type="application/json", body=body, request_id="x") for body in bodies]
    order = [requests.index(request) for request in answered(loaded, requests)]
    assert [request.response.status for request in requests if request.response] == [200, 400, 200]
    assert order == [0, 2, 1]
    assert [request.rows is None for request in requests] == [False, True, False]
