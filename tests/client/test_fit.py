"""Files that do not fit are refused before a row is sent; the message has place, value, rule and what to write."""

import csv
import os
import shlex
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tests.client.conftest import Endpoint, write
from tests.command import Command
from tests.model_preview.server import says, server

GOOD = "1,2,3,4"
TITLE = "risk version 3"

# The header and the lines of a file, and the text about it after its name.
WRONG: list[tuple[list[str], list[str], str]] = [
    (["a,b,c"], [], f"has no column d, which {TITLE} needs; add it"),
    (["A,b,c,d"], [], f"has no column a (is it 'A'?), which {TITLE} needs; add it"),
    (
        ["id,a,b,c,d,full name"],
        [],
        f"has a column id, full name that {TITLE} does not take; remove it, or copy it to",
    ),
    (["a,b,b,c,d"], [], "has more than one column b; rename or remove all but one"),
    (["a,b,c,d,prediction"], [], "has a column prediction, but the result adds a column of this name; rename it"),
    (
        ['a,b,c,d,"x,y",'],
        [],
        "has a column 'x,y', '' that risk version 3 does not take; remove it, or copy it to",
    ),
    (["a;b;c;d"], [], "separates its columns by ';', but only commas are read; write it with commas"),
    ([], [], "is empty; its first line must name the columns"),
    (["a,b,c,d"], [], "has a header but no rows; write at least one row"),
    (
        ["a,b,c,d"],
        [GOOD, "1,2,abc,4"],
        ': line 3, column c is "abc": must be a number; write it as in 29.85, or leave the cell empty (',
    ),
    (["a,b,c,d"], ['"1,5",2,3,4'], ': line 2, column a is "1,5": must be a number; write it as in 29.85'),
    (["a,b,c,d"], ["1_000,2,3,4"], ': line 2, column a is "1_000": must be a number'),
    (["a,b,c,d"], ["inf,2,3,4"], ': line 2, column a is "inf": must be a number'),
    (["a,b,c,d"], ["1,2.5,3,4"], ': line 2, column b is "2.5": must be a whole number; write it as in 12'),
    (["a,b,c,d"], ["1,,3,4"], ": line 2, column b is empty: must be a whole number; write it as in 12"),
    (["a,b,c,d"], ["1,9223372036854775808,3,4"], ': line 2, column b is "9223372036854775808": must be a whole number'),
    (
        ["a,b,c,d"],
        ["1,2,3,2147483648"],
        ': line 2, column d is "2147483648": must be a whole number from -2147483648 to 2147483647',
    ),
    (
        ["a,b,c,d"],
        [GOOD, "1,2,3"],
        ": line 3 has 3 values, but the header has 4 columns; put a value that contains a comma",
    ),
    (["a,b,c,d"], [GOOD, '"1'], ": line 3 is not CSV (unexpected end of data); look there, or some lines before"),
    (["a,b,c,d"], ['"1\n",2,3,4', '"x\n",2,3,4'], ': line 4, column a is "x\\n": must be a number'),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda case: str(case)[:50])
def test_a_file_that_does_not_fit_is_refused_before_anything_is_sent(
    risk: Endpoint, mlops: Command, tmp_path: Path, wrong: tuple[list[str], list[str], str]
) -> None:
    header, lines, said = wrong
    file = tmp_path / "rows.csv"
    file.write_text("".join(f"{line}\n" for line in [*header, *lines]))
    code, told = mlops("predict", "risk", file, "--out", tmp_path / "out.csv", "--url", risk.url)
    start = f"mlops: {file}" if said.startswith(":") else f"mlops: {file} "
    assert (code, told[: len(start + said)]) == (2, start + said)
    assert risk.asked == 0
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


STRANGE = ["x,y", "", ' "id" ', "it's", "$HOME", "`a`", "\\", "#"]


def test_the_hint_about_columns_to_keep_works_as_it_is_typed(risk: Endpoint, mlops: Command, tmp_path: Path) -> None:
    file, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([[*STRANGE, *"abcd"], [*"56789012", *"1234"]])
    code, said = mlops("predict", "risk", file, "--out", out, "--url", risk.url)
    assert code == 2
    hint = said.partition("without sending it: ")[2].splitlines()[0]
    code, said = mlops("predict", "risk", file, "--out", out, "--url", risk.url, *shlex.split(hint))
    assert code == 0, said
    assert risk.seen == [[[1.0, 2, 3.0, 4]]]


def test_what_is_no_list_of_names_to_keep_is_one_line(mlops: Command, rows: Path) -> None:
    code, said = mlops("predict", "risk", rows, "--url", "http://127.0.0.1:1", "--keep", 'id,"no')
    assert (code, said.count("\n")) == (2, 1)
    assert '--keep id,"no is not a line of CSV' in said


def test_a_long_text_is_a_value(mlops: Command, tmp_path: Path, risk: Endpoint) -> None:
    long = " " * 140_000 + "1"
    file = write(tmp_path / "rows.csv", f"{long},2,3,4")
    code, said = mlops("predict", "risk", file, "--out", tmp_path / "out.csv", "--url", risk.url)
    assert code == 0, said
    assert risk.seen == [[[1.0, 2, 3.0, 4]]]
    code, said = mlops(
        "predict", "risk", write(file, f'"{"x" * 11_000_000}'), "--out", tmp_path / "out.csv", "--url", risk.url
    )
    assert (code, said.count("\n")) == (2, 1)
    assert f"{file}: line 2 has a value of more than 10,485,760 characters" in said


def test_what_is_no_utf_8_is_reported_by_its_line(risk: Endpoint, mlops: Command, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b"a,b,c,d\n1,2,3,4\n\xe9,2,3,4\n")
    code, said = mlops("predict", "risk", file, "--out", tmp_path / "out.csv", "--url", risk.url)
    assert code == 2
    assert f"{file} is not UTF-8" in said
    assert "iconv -f WINDOWS-1252 -t UTF-8" in said


def test_the_first_problems_are_reported_and_the_rest_counted(risk: Endpoint, mlops: Command, tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", *["x,y,3,4"] * 600)
    code, said = mlops("predict", "risk", file, "--out", tmp_path / "out.csv", "--url", risk.url)
    lines = said.splitlines()
    assert code == 2
    assert [line.partition(" is ")[0][-len("line 2, column a") :] for line in lines[:3]] == [
        "line 2, column a",
        "line 2, column b",
        "line 3, column a",
    ]
    assert lines[5:] == ["mlops: ... and 1,195 more", "mlops: nothing was sent"]


def test_a_file_that_is_not_there_is_one_line(risk: Endpoint, mlops: Command, tmp_path: Path) -> None:
    code, said = mlops("predict", "risk", tmp_path / "no.csv", "--url", risk.url)
    assert (code, said.count("\n")) == (2, 1)
    assert "no.csv cannot be read: No such file or directory; write the path of a CSV or Parquet file" in said


def test_a_cut_parquet_file_is_one_line(risk: Endpoint, mlops: Command, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and nothing else")
    code, said = mlops("predict", "risk", tmp_path / "rows.parquet", "--url", risk.url)
    assert (code, said.count("\n")) == (2, 1)
    assert "rows.parquet is not a complete Parquet file: " in said


def test_values_of_parquet_are_checked_by_their_type(risk: Endpoint, mlops: Command, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pd.DataFrame({"a": [date(2026, 3, 1)], "b": [2**31], "c": ["3.5"], "d": [2**31]}).to_parquet(file, index=False)
    _, said = mlops("predict", "risk", file, "--out", tmp_path / "out.csv", "--url", risk.url)
    assert 'row 1, column a is "2026-03-01": must be a number' in said
    assert "row 1, column d is 2147483648: must be a whole number from" in said
    assert "column c" not in said, "a number that is written as a text is no harm"


def test_a_parquet_file_that_a_model_was_trained_on_is_predicted(
    risk: Endpoint, mlops: Command, tmp_path: Path
) -> None:
    file = tmp_path / "rows.parquet"
    whole = pd.array([True, False], dtype="boolean")
    pd.DataFrame({"a": [True, False], "b": whole, "c": ["3.5", " "], "d": [1.0, 2.0]}).to_parquet(file, index=False)
    code, said = mlops("predict", "risk", file, "--out", tmp_path / "out.parquet", "--url", risk.url)
    assert code == 0, said
    assert risk.seen == [[[1.0, 1, 3.5, 1], [0.0, 0, None, 2]]]
    assert list(pd.read_parquet(tmp_path / "out.parquet").a) == [True, False], "the file's own values come back"


def test_a_model_of_bare_numbers_takes_columns_by_their_order(bare: Endpoint, mlops: Command, tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", "x-1,1,2,3,4", header="id,one,two,three,four")
    code, said = mlops("predict", "risk", file, "--out", tmp_path / "out.csv", "--url", bare.url)
    assert code == 2
    assert f"{file} has 5 columns, and risk version 1 takes 4, matched by their order" in said
    code, said = mlops("predict", "risk", file, "--out", tmp_path / "out.csv", "--url", bare.url, "--keep", "id")
    assert code == 0, said
    assert bare.seen == [[[1.0, 2.0, 3.0, 4.0]]]


def test_what_is_no_endpoint_of_ours_is_named(risk: Endpoint, mlops: Command, rows: Path, tmp_path: Path) -> None:
    code, said = mlops("predict", "risk", rows, "--out", tmp_path / "out.csv", "--url", f"{risk.url}/elsewhere")
    assert code == 1
    assert "does not say which columns it takes: GET /schema responds 404" in said
    code, said = mlops("predict", "risk", rows, "--out", tmp_path / "out.csv", "--url", "localhost:8080")
    assert (code, said) == (
        2,
        "mlops: --url 'localhost:8080' is not a URL; write one such as http://localhost:8080\n",
    )


@pytest.mark.parametrize(
    "url", ["http://", "http://a:port", "http://a:99999", "http://[::1", "http://a b", "http://a\nb"]
)
def test_an_address_that_cannot_exist_is_refused_before_a_request(
    url: str, mlops: Command, rows: Path, tmp_path: Path
) -> None:
    for words in (["predict", "risk", rows, "--out", tmp_path / "out.csv"], ["client", "risk"]):
        code, said = mlops(*words, "--url", url)
        assert (code, said) == (2, f"mlops: --url {url!r} is not a URL; write one such as http://localhost:8080\n")


@pytest.mark.parametrize("body", ["[]", "null", '"text"', "3"])
def test_a_schema_that_is_no_json_object_is_reported_as_the_address_of_something_else(
    mlops: Command, body: str
) -> None:
    with server(says(200, body)) as url:
        code, said = mlops("client", "risk", "--url", url)
    assert (code, said.count("\n")) == (1, 1)
    assert f"GET /schema responds 200 {body}; write the address of an endpoint" in said


def test_a_result_that_cannot_be_written_is_refused_and_replaces_nothing(
    risk: Endpoint, mlops: Command, rows: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for out, said in (
        (tmp_path / "pipe", "exists and is not a file"),
        (tmp_path, "exists and is not a file"),
        (tmp_path / "none" / "out.csv", "is in a folder that does not exist"),
    ):
        code, told = mlops("predict", "risk", rows, "--out", out, "--url", risk.url)
        assert (code, told.count("\n")) == (2, 1)
        assert told.startswith(f"mlops: --out {out} {said}")
    assert (tmp_path / "pipe").is_fifo()
    assert not risk.seen


@pytest.mark.parametrize(
    "body", ['{"properties": 3}', '{"$defs": []}', '{"$defs": {"prediction": {"type": "object"}}}']
)
def test_a_schema_of_another_form_is_one_line(mlops: Command, body: str) -> None:
    with server(says(200, body)) as url:
        code, said = mlops("client", "risk", "--url", url)
    assert (code, said) == (
        2,
        "mlops: the response of /schema has another form than an endpoint's; write its address\n",
    )
