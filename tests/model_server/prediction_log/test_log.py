"""Requests and responses reach the bucket once and unchanged, and no request waits for the log."""

import asyncio
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_server import app
from model_server.failure import ServingError
from model_server.predict.model import Model
from model_server.prediction_log import segments
from model_server.prediction_log.ship import Shipper
from model_server.settings import ServerSettings, ShipSettings
from tests.model_server.conversation import talk
from tests.model_server.s3 import Bucket, bucket
from tests.model_server.zoo import ZOO, save_echo
from tests.registry import MODEL

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}


@pytest.fixture
def store() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


@pytest.fixture(autouse=True)
def _environment(models: Path, tmp_path: Path, store: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerSettings.model_fields | ShipSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    environment = {
        "MODEL": MODEL,
        "MODEL_VERSION": "1",
        "MODEL_DIR": str(models),
        "THREADS": "2",
        "PREDICTION_LOG_DIR": str(tmp_path / "spool"),
        "POD_NAME": "pod-1",
        "_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true",
        **store.environment,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def example(models: Path) -> Mapping[str, Any]:
    return json.loads((models / MODEL / "1" / "serving_input_example.json").read_bytes())


def ask(*bodies: object, headers: Mapping[str, str] = JSON, server: app.Server | None = None) -> list[httpx.Response]:
    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        contents = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
        return await asyncio.gather(*(client.post("/invocations", content=c, headers=headers) for c in contents))

    return talk(server or app.create(), conversation)


def shipped(store: Bucket) -> pd.DataFrame:
    """Upload the closed segments; return all rows in the bucket."""
    assert Shipper(ShipSettings.load()).ship()
    parts = [pd.read_parquet(io.BytesIO(body)) for body in store.objects.values()]
    return pd.concat(parts).sort_values(["request_id", "row"], ignore_index=True) if parts else pd.DataFrame()


def predictions(log: pd.DataFrame, said: httpx.Response) -> list[Any]:
    return log[log.request_id == said.headers["x-request-id"]].prediction.tolist()


def metric(server: app.Server, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(server.metrics.text().decode()):
        for sample in family.samples:
            if sample.name == f"serving_prediction_log_{name}" and labels.items() <= sample.labels.items():
                return sample.value
    return 0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def rows_of(example: Mapping[str, Any], count: int) -> Mapping[str, Any]:
    """Return a request of this many rows, all different."""
    split = example["dataframe_split"]
    place = split["columns"].index("monthly_charges")
    data = [[*split["data"][0][:place], 20 + number / 8, *split["data"][0][place + 1 :]] for number in range(count)]
    return {"dataframe_split": {"columns": split["columns"], "data": data}}


def test_every_request_is_found_once_and_equal_to_what_was_answered(store: Bucket, example: Mapping[str, Any]) -> None:
    requests = [rows_of(example, 1 + number % 5) for number in range(60)]
    answers = ask(*requests)
    log = shipped(store)
    assert len(log) == sum(len(each["dataframe_split"]["data"]) for each in requests)
    for request, said in zip(requests, answers, strict=True):
        found = log[log.request_id == said.headers["x-request-id"]]
        assert found.prediction.tolist() == said.json()["predictions"]
        assert found.row.tolist() == list(range(len(found)))
        columns = [f"input_{name}" for name in request["dataframe_split"]["columns"]]
        assert found[columns].to_numpy().tolist() == request["dataframe_split"]["data"]
    assert (log.latency_ms > 0).all()
    assert str(log["at"].dtype) == "datetime64[us, UTC]"


def test_columns_have_the_types_of_the_signature(store: Bucket, example: Mapping[str, Any]) -> None:
    ask(rows_of(example, 1))
    types = shipped(store).dtypes
    assert (types["input_tenure"], types["input_monthly_charges"]) == ("int64", "float64")
    assert pd.api.types.is_string_dtype(types["input_contract"])


def test_objects_lie_by_model_version_and_hour(store: Bucket, example: Mapping[str, Any]) -> None:
    ask(rows_of(example, 1))
    at = shipped(store)["at"][0]
    (key,) = store.objects
    folder = f"predictions/model={MODEL}/version=1/date={at:%Y-%m-%d}/hour={at:%H}"
    assert re.fullmatch(rf"{folder}/pod-1-\d{{8}}T\d\d-[0-9a-f]+-\d{{5}}\.parquet", key)


def test_what_another_form_says_is_logged_as_the_same_rows(store: Bucket, example: Mapping[str, Any]) -> None:
    """MLflow's own functions answer these bodies: other forms, and CSV with a missing value."""
    split = rows_of(example, 2)["dataframe_split"]
    gap = split["columns"].index("total_charges")
    lines = [",".join(split["columns"])]
    lines += [",".join("" if place == gap else str(value) for place, value in enumerate(row)) for row in split["data"]]
    (said,) = ask("\n".join(lines), headers=CSV)
    log = shipped(store)
    assert predictions(log, said) == said.json()["predictions"]
    assert log.input_total_charges.isna().all()
    assert log.input_monthly_charges.tolist() == [20.0, 20.125]
    assert log.input_contract.tolist() == [row[split["columns"].index("contract")] for row in split["data"]]


def test_a_refusal_is_no_prediction(store: Bucket, example: Mapping[str, Any]) -> None:
    refused, _ = ask("{", rows_of(example, 1))
    assert refused.status_code == 400
    assert len(shipped(store)) == 1


def test_the_sample_is_chosen_by_the_requests_name(
    store: Bucket, example: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry with the same ID is logged exactly if the first try was."""
    monkeypatch.setenv("PREDICTION_LOG_SAMPLE", "0.25")

    async def conversation(client: httpx.AsyncClient) -> None:
        for name in [f"request-{number}" for number in range(200)] * 2:
            await client.post("/invocations", json=rows_of(example, 1), headers={"x-request-id": name})

    talk(app.create(), conversation)
    times = shipped(store).request_id.value_counts()
    assert 20 < len(times) < 80
    assert set(times) == {2}


def test_redacted_columns_are_nowhere(
    store: Bucket, example: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREDICTION_LOG_REDACT", '["contract", "monthly_charges"]')
    request = rows_of(example, 1)
    place = request["dataframe_split"]["columns"].index("monthly_charges")
    request["dataframe_split"]["data"][0][place] = 73.12345
    split = request["dataframe_split"]
    header, line = (",".join(map(str, each)) for each in (split["columns"], split["data"][0]))
    ask(request, {"instances": [dict(zip(split["columns"], split["data"][0], strict=True))]}, {"inputs": "odd"})
    ask(f"{header}\n{line}", headers=CSV)
    on_disk = b"".join(file.read_bytes() for file in (tmp_path / "spool").iterdir())
    assert b'"tenure"' in on_disk
    assert b"73.12345" not in on_disk
    assert b"contract" not in on_disk
    log = shipped(store)
    assert len(log) == 3
    assert not {"input_contract", "input_monthly_charges"} & set(log.columns)
    assert "input_tenure" in log.columns


EXPERIMENT = {"UNIT_HEADER": "X-Customer-Id", "UNIT_SALT": "a salt of enough characters", "MODEL_ROLE": "challenger"}


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in EXPERIMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("experiment")
def test_role_experiment_and_hash_of_the_callers_key_are_columns(
    store: Bucket, example: Mapping[str, Any], tmp_path: Path
) -> None:
    server, row = app.create(), json.dumps(rows_of(example, 2))
    key, name = b"x-customer-id", b"x-mlops-experiment"
    keys = [
        [(key, b"customer-1"), (name, b"trees-2026-12")],
        [(key.upper(), b"customer-1"), (name, b"no name\tof a router")],
        [(key, b"b"), (key, b"a")],
        [(key, b"a"), (key, b"b")],
        [(key, "é".encode() * 4000)],
        [(key, b"")],
        [],
    ]

    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.post("/invocations", content=row, headers=[(b"content-type", b"application/json"), *more])
            for more in keys
        ]

    answers = talk(server, conversation)
    assert {(said.status_code, said.headers["x-model-role"]) for said in answers} == {(200, "challenger")}
    assert b"customer-1" not in b"".join(file.read_bytes() for file in (tmp_path / "spool").iterdir())
    log = shipped(store)
    assert set(log.role) == {"challenger"}
    by_request = [log[log.request_id == said.headers["x-request-id"]] for said in answers]
    assert by_request[0].experiment.tolist() == ["trees-2026-12"] * 2
    assert log.experiment.notna().sum() == 2
    units = [rows.unit.iloc[0] for rows in by_request]
    assert re.fullmatch("[0-9a-f]{32}", units[0])
    assert units[0] == units[1]
    assert units[2] == units[3]
    assert len(set(units[:5])) == 3
    assert [pd.isna(unit) for unit in units] == [False] * 5 + [True] * 2


@pytest.mark.usefixtures("experiment")
def test_another_salt_makes_another_unit_of_the_same_key(
    store: Bucket, example: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {**JSON, "x-customer-id": "customer-1"}
    ask(rows_of(example, 1), headers=headers)
    monkeypatch.setenv("UNIT_SALT", "another salt of some length")
    ask(rows_of(example, 1), headers=headers)
    assert shipped(store).unit.nunique() == 2


def test_without_a_configured_header_no_client_writes_itself_into_an_experiment(
    store: Bucket, example: Mapping[str, Any]
) -> None:
    ask(rows_of(example, 1), headers={**JSON, "x-mlops-experiment": "trees", "x-customer-id": "customer-1"})
    log = shipped(store)
    assert log.role.tolist() == ["champion"]
    assert log[["experiment", "unit"]].isna().all(axis=None)


@pytest.mark.usefixtures("experiment")
def test_a_short_salt_stops_the_server_and_stays_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIT_SALT", "guessable")
    with pytest.raises(ServingError, match=r"UNIT_SALT has 9 characters, and the log of .* needs at least 16") as told:
        app.create()
    assert told.value.final
    assert "guessable" not in str(told.value)


def test_a_redacted_column_that_does_not_exist_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTION_LOG_REDACT", '["contrakt"]')
    with pytest.raises(
        ServingError, match=f"names contrakt, which are neither inputs nor outputs of {MODEL} version 1"
    ) as told:
        app.create()
    assert told.value.final
    assert "contract" in str(told.value)


def test_a_disk_at_its_bound_costs_predictions_and_no_request(
    store: Bucket, example: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREDICTION_LOG_SPOOL_BYTES", str(1 << 16))
    server = app.create()
    answers = ask(*[rows_of(example, 60)] * 30, server=server)
    assert {said.status_code for said in answers} == {200}
    written, dropped = metric(server, "written_total"), metric(server, "dropped_total", reason="disk")
    assert dropped > 0
    assert written + dropped == 30
    assert metric(server, "spool_bytes") <= 1 << 16
    assert len(shipped(store)) == 60 * written


def test_a_queue_at_its_bound_costs_predictions_and_no_request(
    store: Bucket, example: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_server.prediction_log.log.QUEUE_BYTES", 20_000)
    monkeypatch.setattr("model_server.prediction_log.log.PERIOD", 600)
    server = app.create()
    answers = ask(*[rows_of(example, 10)] * 30, server=server)
    assert {said.status_code for said in answers} == {200}
    written, dropped = metric(server, "written_total"), metric(server, "dropped_total", reason="queue")
    assert dropped > 0
    assert written + dropped == 30
    assert len(shipped(store)) == 10 * written


def test_a_request_that_cannot_be_written_down_is_counted_and_holds_up_no_other(
    store: Bucket, example: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(Model, "rows_by_mlflow", fail)
    server = app.create()
    split = rows_of(example, 1)["dataframe_split"]
    lines = [",".join(map(str, each)) for each in (split["columns"], *split["data"])]
    (said,) = ask("\n".join(lines), headers=CSV, server=server)
    assert said.status_code == 200
    ask(rows_of(example, 1))
    assert (metric(server, "written_total"), metric(server, "dropped_total", reason="error")) == (0, 1)
    assert len(shipped(store)) == 1


def test_a_segment_is_closed_by_size(
    store: Bucket, example: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREDICTION_LOG_SEGMENT_BYTES", "1")
    monkeypatch.setattr("model_server.prediction_log.log.CHUNK", 10)
    ask(*[rows_of(example, 1)] * 30)
    assert len(shipped(store)) == 30
    assert len(store.objects) >= 3


def test_a_quiet_server_ships_too(
    store: Bucket, example: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREDICTION_LOG_SEGMENT_SECONDS", "0.01")
    monkeypatch.setattr("model_server.prediction_log.log.PERIOD", 0.01)

    async def conversation(client: httpx.AsyncClient) -> None:
        await client.post("/invocations", json=rows_of(example, 1))
        await asyncio.to_thread(until, lambda: bool(segments.closed(tmp_path / "spool")))
        assert len(shipped(store)) == 1

    talk(app.create(), conversation)


def test_without_a_folder_there_is_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREDICTION_LOG_DIR")
    server = app.create()
    assert not server.watchers
    assert "prediction_log" not in server.metrics.text().decode()


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a MODEL_DIR with a model of another kind."""
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    return tmp_path / "models" / MODEL / "1"


ROWS = {"columns": ["a", "b", "c", "d"], "data": [[0.5, 3, 1.25, 2], [-1.0, 4, 2.5, 3]]}


def test_a_list_of_probabilities_is_one_column(store: Bucket, other: Path) -> None:
    ZOO["probabilities of a forest"](other)
    (said,) = ask({"dataframe_split": ROWS})
    log = shipped(store)
    assert [list(each) for each in log.prediction] == said.json()["predictions"]
    assert log[["input_a", "input_b", "input_c", "input_d"]].to_numpy().tolist() == ROWS["data"]


def test_a_model_of_a_bare_array_is_logged_by_place(store: Bucket, other: Path) -> None:
    ZOO["a line on a bare array"](other)
    (said,) = ask({"inputs": ROWS["data"]})
    log = shipped(store)
    assert log.prediction.tolist() == said.json()["predictions"]
    assert log[["input_0", "input_3"]].to_numpy().tolist() == [[0.5, 2.0], [-1.0, 3.0]]


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_any_flavour_is_logged(store: Bucket, other: Path) -> None:
    other.parent.mkdir(parents=True)
    save_echo(other)
    row = {"a": 1.5, "b": 2, "c": 0.25, "d": True, "e": "word", "f": 3}
    (said,) = ask({"dataframe_records": [row]})
    log = shipped(store)
    assert [list(each) for each in log.prediction] == said.json()["predictions"]
    assert {name: log[f"input_{name}"][0] for name in row} == row
