"""`mlops predict`: the result is right, whatever endpoint and network do meanwhile."""

import contextlib
import csv
import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from client import endpoint as endpoints
from model_server.app import Server
from model_server.predict.model import Model
from tests.client.conftest import BROKEN, Endpoint, expected, write
from tests.command import Command


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "predictions.csv"


def test_every_row_comes_back_in_its_place_with_the_models_own_answer(
    risk: Endpoint, mlops: Command, rows: Path, out: Path, forest: Model
) -> None:
    code, said = mlops("predict", "risk", rows, "--out", out, "--url", risk.url, "--rows", 40)
    assert code == 0, said
    given, answered = read(rows), read(out)
    assert [{name: row[name] for name in "abcd"} for row in answered] == given
    typed = [(float(row["a"]), int(row["b"]), float(row["c"]), int(row["d"])) for row in given]
    assert [int(row["prediction"]) for row in answered] == expected(forest, typed)
    assert {row["model_version"] for row in answered} == {"3"}
    assert said.startswith(f"{out}: 250 rows predicted, by risk version 3; ")
    assert not list(out.parent.glob("*.part"))


def test_a_row_names_its_request_and_its_place_in_it(risk: Endpoint, mlops: Command, rows: Path, out: Path) -> None:
    mlops("predict", "risk", rows, "--out", out, "--url", risk.url, "--rows", 100)
    answered = read(out)
    of_requests = [row["request_id"] for row in answered]
    assert len(set(of_requests)) == 3
    assert "" not in of_requests
    assert [int(row["request_row"]) for row in answered] == [*range(100), *range(100), *range(50)]


def test_requests_are_bounded_by_rows_and_few_are_open_at_once(
    risk: Endpoint, mlops: Command, rows: Path, out: Path
) -> None:
    mlops("predict", "risk", rows, "--out", out, "--url", f"{risk.url}/invocations", "--rows", 10, "--in-flight", 3)
    assert sorted(map(len, risk.seen)) == [10] * 25
    assert risk.most_at_once <= 3


def test_requests_that_are_too_large_for_the_server_are_parted(
    risk: Endpoint, mlops: Command, tmp_path: Path, out: Path
) -> None:
    file = write(tmp_path / "rows.csv", *["0.123456789012345,1,0.123456789012345,1"] * 1000)
    assert mlops("predict", "risk", file, "--out", out, "--url", risk.url)[0] == 0
    answered = read(out)
    assert len(answered) == 1000
    assert max(int(row["request_row"]) for row in answered) < 500


def test_a_token_is_sent_with_each_request_as_its_file_has_it_then(
    risk: Endpoint, mlops: Command, rows: Path, out: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    risk.after = lambda: token.write_text("second\n")
    code, said = mlops("predict", "risk", rows, "--out", out, "--url", risk.url, "--token", token, "--in-flight", 1)
    assert code == 0, said
    assert risk.tokens == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("text", [None, "", "two words", "caf\xe9"])
def test_a_file_without_a_token_is_named_before_anything_is_sent(
    risk: Endpoint, mlops: Command, rows: Path, tmp_path: Path, text: str | None
) -> None:
    token = tmp_path / "token"
    if text is not None:
        token.write_text(text)
    code, said = mlops("predict", "risk", rows, "--out", tmp_path / "out.csv", "--url", risk.url, "--token", token)
    assert (code, risk.asked) == (2, 0)
    assert str(token) in said
    assert "\n" not in said.strip()


@pytest.mark.parametrize("fault", [408, 429, 502, 503, 504, BROKEN])
def test_what_goes_away_is_waited_for(risk: Endpoint, mlops: Command, rows: Path, out: Path, fault: int) -> None:
    risk.faults.extend([fault] * 4)
    code, said = mlops("predict", "risk", rows, "--out", out, "--url", risk.url, "--rows", 100)
    assert code == 0, said
    assert [int(row["request_row"]) for row in read(out)].count(0) >= 3


def test_the_server_says_how_long_to_wait(
    risk: Endpoint, mlops: Command, rows: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(endpoints, "sleep", sleep)
    risk.faults.append(429)
    risk.headers.append((b"retry-after", b"7"))
    assert mlops("predict", "risk", rows, "--out", out, "--url", risk.url)[0] == 0
    assert waited == [7]


def test_an_endpoint_that_stays_away_is_given_up_and_what_it_answered_is_kept(
    risk: Endpoint, mlops: Command, rows: Path, out: Path
) -> None:
    risk.faults.extend([503] * 1000)
    command = ("predict", "risk", rows, "--out", out, "--url", risk.url, "--rows", 50, "--in-flight", 1)
    code, said = mlops(*command, "--patience", 0.05)
    assert code == 1
    assert f"mlops: {risk.url} did not respond within 0.05 s at {risk.url}: 503 no!; run the same command again" in said
    assert not out.exists()
    risk.faults.clear()
    assert mlops(*command)[0] == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid"])
def test_an_address_without_a_server_costs_one_line(mlops: Command, rows: Path, out: Path, url: str) -> None:
    code, said = mlops("predict", "risk", rows, "--out", out, "--url", url, "--patience", 0)
    assert code == 1
    assert said.startswith(f"mlops: {url} did not respond within 0 s")
    assert len(said.splitlines()) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("order", "ends"),
    [
        (signal.SIGKILL, (-9, "")),
        (
            signal.SIGINT,
            (130, "mlops: stopped; 150 of 250 rows are predicted and kept in {out}.part; run the same command "),
        ),
    ],
)
def test_a_killed_or_stopped_client_goes_on_after_the_last_whole_request(
    risk: Endpoint, mlops: Command, rows: Path, order: signal.Signals, ends: tuple[int, str]
) -> None:
    out = rows.with_name("predictions.csv")
    risk.gate_after = 3
    command = ["predict", "risk", str(rows), "--out", str(out), "--url", risk.url, "--rows", "50", "--in-flight", "1"]
    part = out.with_name("predictions.csv.part")
    run = "from cli.main import main; main()"
    with subprocess.Popen([sys.executable, "-c", run, *command], stderr=subprocess.PIPE, text=True) as process:
        while not (part.exists() and part.read_bytes().count(b"\n") == 4):
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.02)}")
        process.send_signal(order)
        _, said = process.communicate(timeout=20)
        code, says = ends
        assert (process.returncode, said.partition("again to continue")[0]) == (code, says.format(out=out))
    _, *before = [json.loads(line) for line in part.read_text().splitlines()]
    with part.open("a") as cut:
        cut.write('["3","half of a li')
    risk.gate.set()
    code, said = mlops(*command)
    assert code == 0, said
    assert "250 rows predicted, 150 of them by an earlier run, by risk version 3" in said
    answered = read(out)
    assert [{name: row[name] for name in "abcd"} for row in answered] == read(rows)
    assert [answered[at]["request_id"] for at in (0, 50, 100)] == [request_id for _, request_id, _ in before]
    assert len({row["request_id"] for row in answered}) == 5


def test_a_file_that_changed_starts_again(risk: Endpoint, mlops: Command, rows: Path, out: Path) -> None:
    other: dict[str, object] = {"endpoint": risk.url, "file": "of another file", "keep": []}
    out.with_name("predictions.csv.part").write_text(json.dumps(other) + '\n["1","x",[7,7]]\n')
    assert mlops("predict", "risk", rows, "--out", out, "--url", risk.url)[0] == 0
    assert {row["model_version"] for row in read(out)} == {"3"}


def test_two_clients_do_not_write_the_same_file(risk: Endpoint, mlops: Command, rows: Path, out: Path) -> None:
    part = out.with_name("predictions.csv.part")
    with part.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, said = mlops("predict", "risk", rows, "--out", out, "--url", risk.url)
    assert (code, risk.seen) == (2, [])
    assert f"{part} is being written by another `mlops predict`; wait for it, or write another file with --out" in said


def test_a_release_meanwhile_is_reported_and_every_row_has_its_version(
    risk: Endpoint, mlops: Command, rows: Path, out: Path, server: Callable[[int], Server]
) -> None:
    risk.next_version = (2, server(4))
    _, said = mlops("predict", "risk", rows, "--out", out, "--url", risk.url, "--rows", 50, "--in-flight", 1)
    assert "by risk version 3 (100 rows) and version 4 (150 rows); the version changed meanwhile" in said
    assert [row["model_version"] for row in read(out)] == ["3"] * 100 + ["4"] * 150


def test_parquet_in_and_parquet_out_keep_their_types(
    risk: Endpoint, mlops: Command, rows: Path, tmp_path: Path, out: Path
) -> None:
    table = pd.read_csv(rows)
    table.to_parquet(tmp_path / "rows.parquet", index=False)
    code, said = mlops("predict", "risk", tmp_path / "rows.parquet", "--out", tmp_path / "p.parquet", "--url", risk.url)
    assert code == 0, said
    mlops("predict", "risk", rows, "--out", out, "--url", risk.url)
    answered = pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(answered[["a", "b", "c", "d"]], table)
    assert list(answered.prediction) == [int(row["prediction"]) for row in read(out)]
    types = {str(kind) for kind in pd.read_parquet(tmp_path / "p.parquet").dtypes[["prediction", "request_row"]]}
    assert types == {"int64", "int32"}


def test_csv_becomes_parquet_with_the_models_types(risk: Endpoint, mlops: Command, rows: Path, tmp_path: Path) -> None:
    mlops("predict", "risk", rows, "--out", tmp_path / "p.parquet", "--url", risk.url)
    with (tmp_path / "p.parquet").open("rb") as file:
        schema = parquet.ParquetFile(file).schema_arrow
    types = dict(zip(schema.names, map(str, schema.types), strict=True))
    assert [types[name] for name in ("a", "b", "prediction", "request_id")] == ["double", "int64", "int64", "string"]


def test_columns_to_keep_come_back_unsent(risk: Endpoint, mlops: Command, tmp_path: Path, out: Path) -> None:
    file = write(tmp_path / "rows.csv", 'x-1,1,2,3,4,"two\nlines"', "x-2,1,2,3,4,", header="id,a,b,c,d,note")
    code, said = mlops("predict", "risk", file, "--out", out, "--url", risk.url, "--keep", "id,note")
    assert code == 0, said
    assert risk.seen == [[[1.0, 2, 3.0, 4]] * 2]
    assert [(row["id"], row["note"]) for row in read(out)] == [("x-1", "two\nlines"), ("x-2", "")]


@pytest.mark.parametrize("start", ["\ufeff", "\n"])
def test_what_spreadsheets_write_is_read(risk: Endpoint, mlops: Command, tmp_path: Path, out: Path, start: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f'{start}"d","c","b","a"\r\n"4"," 3.5 ","2.0","NA"\r\n\r\n', newline="")
    code, said = mlops("predict", "risk", file, "--out", out, "--url", risk.url)
    assert code == 0, said
    assert risk.seen == [[[None, 2, 3.5, 4]]]
    assert len(read(out)) == 1


def test_a_row_that_the_model_refuses_is_named(risk: Endpoint, mlops: Command, rows: Path, out: Path) -> None:
    risk.faults.extend([400] * 9)
    code, said = mlops("predict", "risk", rows, "--out", out, "--url", risk.url, "--rows", 250, "--in-flight", 1)
    assert (code, said) == (2, f"mlops: line 2 is refused by {risk.url}: 400 no!\n")


def test_a_model_that_fails_is_the_endpoints_fault(risk: Endpoint, mlops: Command, rows: Path, out: Path) -> None:
    risk.faults.extend([500] * 9)
    code, said = mlops("predict", "risk", rows, "--out", out, "--url", risk.url, "--rows", 250, "--in-flight", 1)
    assert (code, said) == (1, f"mlops: {risk.url} failed at line 2: 500 no!\n")


def test_an_answer_without_predictions_is_no_answer(risk: Endpoint, mlops: Command, rows: Path, out: Path) -> None:
    risk.faults.append(200)
    code, said = mlops("predict", "risk", rows, "--out", out, "--url", risk.url)
    assert code == 1
    assert "must respond to 250 rows with 250 predictions, but responded 200 no!; correct" in said


def test_the_result_is_never_half_written(risk: Endpoint, mlops: Command, rows: Path, out: Path) -> None:
    out.write_text("of yesterday")
    risk.faults.extend([400] * 9)
    assert mlops("predict", "risk", rows, "--out", out, "--url", risk.url)[0] == 2
    assert out.read_text() == "of yesterday"


def test_a_file_is_not_written_over_itself(mlops: Command, rows: Path) -> None:
    code, said = mlops("predict", "risk", rows, "--out", rows, "--url", "http://127.0.0.1:1")
    assert code == 2
    assert f"{rows} is the file that is read, and the result would replace it; write another" in said


def test_lists_of_predictions_are_columns(
    mlops: Command, rows: Path, out: Path, probabilities: Endpoint, tmp_path: Path
) -> None:
    assert mlops("predict", "risk", rows, "--out", out, "--url", probabilities.url)[0] == 0
    shares = [(float(row["prediction_0"]), float(row["prediction_1"])) for row in read(out)]
    assert all(abs(no + yes - 1) < 1e-9 for no, yes in shares)
    assert mlops("predict", "risk", rows, "--out", tmp_path / "p.parquet", "--url", probabilities.url)[0] == 0
    typed: Any = pd.read_parquet(tmp_path / "p.parquet")
    assert list(typed.prediction_1) == [yes for _, yes in shares]
