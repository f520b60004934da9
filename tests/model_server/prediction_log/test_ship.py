"""Each segment in the folder reaches the bucket once, even if processes are killed."""

import http.client
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from model_server.prediction_log.segments import ENCODER, HOUR, Field, Header, Record, Segment
from model_server.prediction_log.ship import Shipper
from model_server.settings import ServerSettings, ShipSettings
from tests.model_server.s3 import Bucket, bucket
from tests.model_server.test_server import Process, free_port, read, until
from tests.registry import MODEL

HEADER = Header(inputs=[Field("tenure", "long")], outputs=[Field("", "double")])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name in ServerSettings.model_fields | ShipSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "spool").mkdir()
    with bucket() as made:
        environment = {"MODEL": MODEL, "MODEL_VERSION": "1", "POD_NAME": "pod-1", **made.environment}
        for name, value in {**environment, "PREDICTION_LOG_DIR": str(tmp_path / "spool")}.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def spool(store: Bucket, tmp_path: Path) -> Path:
    del store
    return tmp_path / "spool"


def record(name: str, tenure: object = 3, answer: str = '{"predictions": [0.25]}', body: str | None = None) -> Record:
    rows = None if body else [[tenure]]
    return Record(request_id=name, at=HOUR * 490_000, latency_ms=1.5, rows=rows, body=body, response=answer)


def segment(spool: Path, *records: Record, number: int = 1, header: Header = HEADER) -> Segment:
    """Return an open segment with these records."""
    made = Segment(spool, number, 490_000, header)
    made.write(ENCODER.encode_lines(records))
    return made


def shipper() -> Shipper:
    return Shipper(ShipSettings.load())


def found(store: Bucket) -> pd.DataFrame:
    parts = [pd.read_parquet(io.BytesIO(body)) for body in store.objects.values()]
    return pd.concat(parts).sort_values(["request_id", "row"], ignore_index=True)


def test_nothing_is_lost_while_the_store_does_not_answer(store: Bucket, spool: Path) -> None:
    store.down = True
    shipping = shipper()
    for number in range(3):
        segment(spool, record(f"request-{number}"), number=number).close()
        assert not shipping.ship()
    assert not store.objects
    store.down = False
    assert shipping.ship()
    assert found(store).request_id.tolist() == ["request-0", "request-1", "request-2"]
    assert not list(spool.iterdir())


def test_what_a_living_server_writes_to_is_left_alone(store: Bucket, spool: Path) -> None:
    writing = segment(spool, record("a"))
    assert shipper().ship()
    assert not store.objects
    writing.write(ENCODER.encode_lines([record("b")]))
    writing.close()
    assert shipper().ship()
    assert found(store).request_id.tolist() == ["a", "b"]


def test_what_a_dead_server_left_is_shipped_up_to_the_tear(
    store: Bucket, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = ENCODER.encode(record("torn"))
    dead = segment(spool, record("whole"))
    dead.write(line[: len(line) // 2])
    os.close(dead.file)  # as the kernel does for a process that dies
    with caplog.at_level(logging.WARNING):
        assert shipper().ship()
    assert found(store).request_id.tolist() == ["whole"]
    assert "1 lines of the prediction log are incomplete" in caplog.text


def test_a_file_that_is_no_segment_holds_up_no_other(store: Bucket, spool: Path) -> None:
    (spool / "20000101T00-1-00001.segment").write_bytes(b"odd\n")
    segment(spool, record("a")).close()
    assert shipper().ship()
    assert found(store).request_id.tolist() == ["a"]
    assert [left.name for left in spool.iterdir()] == ["20000101T00-1-00001.unreadable"]


def test_a_column_keeps_its_type_whatever_comes(store: Bucket, spool: Path) -> None:
    odd = [record("a"), record("b", tenure="many"), record("c", answer='{"predictions": ["high"]}')]
    segment(spool, *odd, record("d", answer='{"predictions": {"all": 1}}'), record("e", body="not a table")).close()
    assert shipper().ship()
    log = found(store)
    assert (log.input_tenure.dtype, log.prediction.dtype) == ("float64", "float64")  # pandas' whole numbers with a gap
    assert log.input_tenure.isna().tolist() == [False, True, False, False, True]
    assert log.prediction.isna().tolist() == [False, False, True, True, False]
    assert log.request.fillna("").tolist() == ["", '["many"]', "", "", "not a table"]
    assert log.answer.fillna("").tolist() == ["", "", '"high"', '{"predictions": {"all": 1}}', ""]


def test_a_segment_of_a_former_release_is_shipped_with_empty_columns(store: Bucket, spool: Path) -> None:
    former = spool / "20251124T16-1-00001.segment"
    header, line = (
        '{"inputs":[["tenure","long"]],"outputs":[["","double"]]}',
        '["a",1764000000000000,1.5,[[3]],null,"[0.25]"]',
    )
    former.write_text(f"{header}\n{line}\n")
    assert shipper().ship()
    log = found(store)
    assert (log.request_id[0], log.input_tenure[0], log.prediction[0]) == ("a", 3, 0.25)
    assert log[["role", "experiment", "unit"]].isna().all(axis=None)


def test_files_of_former_releases_and_new_ones_are_one_table(store: Bucket, spool: Path, tmp_path: Path) -> None:
    segment(spool, record("new")).close()
    assert shipper().ship()
    (new,) = store.objects.values()
    former = pd.read_parquet(io.BytesIO(new)).drop(columns=["role", "experiment", "unit"]).assign(request_id="former")
    for order in (["new", "former"], ["former", "new"]):  # a reader takes the columns of the first file
        folder = tmp_path / order[0]
        folder.mkdir()
        (folder / f"{order.index('new')}.parquet").write_bytes(new)
        former.to_parquet(folder / f"{order.index('former')}.parquet")
        table = pd.read_parquet(folder)
        assert table.request_id.tolist() == order
        assert table.prediction.tolist() == [0.25, 0.25]
        if order[0] == "new":
            assert table.role.isna().tolist() == [True, True]
        else:
            assert "role" not in table


def test_named_predictions_are_columns(store: Bucket, spool: Path) -> None:
    header = Header(inputs=HEADER.inputs, outputs=[Field("low", "double"), Field("high", "double")])
    said = '{"predictions": [{"low": 0.5, "high": NaN}]}'
    segment(spool, record("a", answer=said), header=header).close()
    assert shipper().ship()
    log = found(store)
    assert (log.prediction_low[0], str(log.prediction_high[0])) == (0.5, "nan")


@pytest.mark.parametrize(
    ("said", "kind"),
    [("[1, 2]", "int64"), ("[1, 0.5]", "float64"), ("[true, false]", "bool"), ('["a", "b"]', "str")],
)
def test_predictions_of_a_model_that_names_no_type_have_that_of_their_values(
    store: Bucket, spool: Path, said: str, kind: str
) -> None:
    header = Header(inputs=[], outputs=[])
    segment(spool, record("a", body="{}", answer=f'{{"predictions": {said}}}'), header=header).close()
    assert shipper().ship()
    assert found(store).prediction.dtype == kind
    assert found(store).prediction.tolist() == json.loads(said)


@pytest.fixture
def shipping(store: Bucket) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the container's process; kill it after the test."""
    del store
    started: list[subprocess.Popen[str]] = []

    def start(**more: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "model_server.prediction_log.ship"]
        started.append(subprocess.Popen(command, env=os.environ | more, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.long
def test_a_kill_between_upload_and_deletion_makes_no_duplicate(
    store: Bucket, spool: Path, shipping: Callable[..., "subprocess.Popen[str]"]
) -> None:
    segment(spool, record("a"), record("b")).close()
    arrived, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        arrived.set()
        go_on.wait(60)

    store.before_answer = hold
    first = shipping()
    assert arrived.wait(60)
    first.kill()
    first.wait()
    store.before_answer = lambda: None
    go_on.set()
    assert len(list(spool.iterdir())) == 1
    shipping()
    until(lambda: not list(spool.iterdir()))
    assert (store.puts, len(store.objects)) == (2, 1)
    assert found(store).request_id.tolist() == ["a", "b"]


@pytest.mark.long
def test_the_order_to_stop_ships_what_lies_there(
    store: Bucket, spool: Path, shipping: Callable[..., "subprocess.Popen[str]"]
) -> None:
    segment(spool, record("a")).close()
    left = segment(spool, record("b"), number=2)
    os.close(left.file)
    store.down = True
    process = shipping()
    assert process.stdout
    assert "the prediction log cannot be uploaded" in process.stdout.readline()
    store.down = False
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert found(store).request_id.tolist() == ["a", "b"]


@pytest.mark.long
def test_a_stop_without_a_store_ends_in_time_and_says_what_is_lost(
    store: Bucket, spool: Path, shipping: Callable[..., "subprocess.Popen[str]"]
) -> None:
    segment(spool, record("a")).close()
    store.down = True
    process = shipping(PREDICTION_LOG_DRAIN_SECONDS="1")
    assert process.stdout
    assert "the prediction log cannot be uploaded" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "1 segments of the prediction log are lost" in said.splitlines()[-1]


@pytest.mark.long
def test_a_killed_server_loses_no_more_than_it_had_in_memory(store: Bucket, spool: Path, models: Path) -> None:
    port = str(free_port())
    more = {"MODEL_DIR": str(models), "HOST": "127.0.0.1", "PORT": port}
    popen = subprocess.Popen(
        [sys.executable, "-m", "model_server.server"],
        env=os.environ | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process = Process(popen, int(port))
    reader = threading.Thread(target=read, args=(process,), daemon=True)
    reader.start()
    process.ready()
    example = (models / MODEL / "1" / "serving_input_example.json").read_bytes()
    sure = [ask(process, example) for _ in range(50)]
    until(
        lambda: (
            re.search(r"^serving_prediction_log_written_total\{.*\} 50\.0$", page(process), re.MULTILINE) is not None
        )
    )
    unsure = [ask(process, example) for _ in range(5)]
    popen.kill()
    popen.wait()
    reader.join()
    assert shipper().ship()
    log = found(store)
    said = {name: answer for each in (*sure, *unsure) for name, answer in each.items()}
    logged = log.groupby("request_id").prediction.apply(list).to_dict()
    assert {name for each in sure for name in each} <= set(logged) <= set(said)
    assert all(said[str(name)] == predictions for name, predictions in logged.items())
    assert not list(spool.iterdir())


def ask(process: Process, body: bytes) -> Mapping[str, Any]:
    """Return the predictions by request ID."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
    connection.request("POST", "/invocations", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return {answer.headers["x-request-id"]: said["predictions"]}


def page(process: Process) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text
