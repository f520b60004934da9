import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.conftest import ODD_KEYS
from training.data import reading, source
from training.data.reading import DataError, StoreError
from training.project import Classifier, Column, Parameters, Project, Rows, Split, Target

GOOD = "tenure,total,contract,churn\n1,10.5,Monthly,No\n2,,Yearly,Yes\n3, ,Monthly,No\n"


def never(_rows: Rows, _parameters: Parameters) -> Classifier:
    raise AssertionError


def project(*columns: Column, split: Split | None = None) -> Project[Any]:
    return Project(
        model="m",
        columns=columns
        or (
            Column(name="tenure", kind="integer", at_least=1),
            Column(name="total", kind="number", most_missing=0.8),
            Column(name="contract", kind="category", categories=("Monthly", "Yearly")),
        ),
        target=Target(name="churn", labels=("No", "Yes"), rarest=0.1),
        parameters=Parameters,
        fit=never,
        split=split or Split(),
    )


def load(content: str | bytes, tmp_path: Path, declared: Project[Any] | None = None) -> reading.Dataset:
    file = tmp_path / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return reading.load(str(file), declared or project())


def parquet(table: pd.DataFrame, tmp_path: Path, declared: Project[Any] | None = None) -> reading.Dataset:
    file = tmp_path / "table.parquet"
    table.to_parquet(file)
    return reading.load(str(file), declared or project())


def test_a_blank_is_a_missing_number(tmp_path: Path) -> None:
    table = load(GOOD, tmp_path).table
    assert table["total"].isna().tolist() == [False, True, True]
    assert [str(kind) for kind in table.dtypes] == ["int64", "float64", "category", "category"]


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    assert load(GOOD, tmp_path).digest == hashlib.sha256(GOOD.encode()).hexdigest()


def test_a_column_that_the_model_does_not_know_is_left_out_and_named(tmp_path: Path) -> None:
    dataset = load(
        GOOD.replace("tenure,", "id,tenure,").replace("\n1", "\n9,1").replace("\n2", "\n9,2").replace("\n3", "\n9,3"),
        tmp_path,
    )
    assert dataset.ignored == ("id",)
    assert list(dataset.table.columns) == ["tenure", "total", "contract", "churn"]


def test_a_parquet_gives_the_table_that_the_csv_gives(tmp_path: Path) -> None:
    written = pd.read_csv(io.StringIO(GOOD), na_values=[" "]).assign(id=7)
    one, other = parquet(written, tmp_path), load(GOOD, tmp_path)
    pd.testing.assert_frame_equal(one.table, other.table)
    assert one.ignored == ("id",)
    assert one.digest == hashlib.sha256((tmp_path / "table.parquet").read_bytes()).hexdigest()


def test_a_table_of_several_blocks_is_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        f"{row},{row / 2},{'Monthly' if row % 3 else 'Yearly'},{'No' if row % 2 else 'Yes'}" for row in range(1, 99)
    ]
    content = "\n".join([GOOD.splitlines()[0], *rows]) + "\n"
    whole = load(content, tmp_path).table
    monkeypatch.setattr(source, "BLOCK", 64)
    pd.testing.assert_frame_equal(load(content, tmp_path).table, whole)
    assert len(whole) == 98


def test_a_quoted_line_break_is_no_end_of_a_row(tmp_path: Path) -> None:
    table = load(
        GOOD.replace("Yearly", '"Year\nly"'), tmp_path, project(Column(name="contract", kind="category"))
    ).table
    assert table["contract"].tolist()[1] == "Year\nly"


def test_the_column_that_rows_are_divided_by_is_read_and_is_no_feature(tmp_path: Path) -> None:
    declared = project(Column(name="tenure", kind="integer"), split=Split(how="time", by="seen"))
    content = "tenure,seen,churn\n1,2026-01-02,No\n2,2026-01-03T10:00:00,Yes\n"
    assert load(content, tmp_path, declared).table["seen"].dt.day.tolist() == [2, 3]
    with pytest.raises(DataError, match=r"seen holds 'soon' and must be a time \(ISO 8601\), in row 2 of 2"):
        load(content.replace("2026-01-03T10:00:00", "soon"), tmp_path, declared)
    with pytest.raises(DataError, match="the column seen has no value in 1 rows, first in row 2"):
        load(content.replace("2026-01-03T10:00:00", ""), tmp_path, declared)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert len(load(b"\xef\xbb\xbf" + GOOD.encode(), tmp_path).table) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD.replace("total", "TotalCharges"), "lacks the column total, which the model needs"),
        (GOOD.replace("total", "totals"), "is totals meant as total?"),
        (GOOD.replace("tenure,total", "a,b"), "lacks the columns tenure, total"),
        (GOOD.replace("1,10.5", "x,10.5"), "tenure holds 'x' and must be a whole number, in row 1 of 3"),
        (GOOD.replace("1,10.5", "0,10.5"), "tenure holds '0' and must be at least 1, in row 1 of 3"),
        (GOOD.replace("10.5", "inf"), "total holds 'inf' and must be a finite number"),
        (GOOD.replace("Yearly", "Weekly"), "contract holds Weekly, and may hold only Monthly, Yearly"),
        (GOOD.replace("contract", "churn"), "has the column churn more than once"),
        (GOOD.replace("1,10.5", "1.5,10.5"), "tenure holds '1.5' and must be a whole number, in row 1 of 3"),
        (GOOD.replace("3, ", ", "), "tenure holds nothing and must be a whole number, in row 3 of 3"),
        (GOOD.replace("10.5", "ten"), "total holds 'ten' and must be a number"),
        (GOOD.replace("10.5", ""), "total is empty in all rows"),
        (GOOD.replace("Yes", "Perhaps"), "churn holds Perhaps, and may hold only No or Yes"),
        (GOOD.replace(",Yes", ","), "churn has no value in 1 rows, first in row 2"),
        (GOOD.replace("Yes", "Perhaps").replace("1,", "0,"), "tenure holds '0' and must be at least 1"),
        (GOOD.replace("Yes", "No"), "churn never holds Yes"),
        (GOOD.splitlines()[0], "has a header but no rows"),
        ("", "is empty"),
        (" \n", "is empty"),
        (GOOD.replace("1,10.5", "1,2,3,10.5"), "is not a CSV"),
        (GOOD.replace("Yearly", "J\xe4hrlich").encode("latin-1"), "is not UTF-8: byte 0xe4 in line 3"),
        (b"PK\x03\x04\xff\xfe\x00", "is not UTF-8"),
        (b"a\x00b", "lacks the columns tenure, total, contract, churn"),
    ],
)
def test_a_table_that_cannot_be_learnt_from_is_refused_in_one_line(
    content: str | bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as told:
        load(content, tmp_path)
    sentence = str(told.value)
    assert said in sentence
    assert sentence.startswith(str(tmp_path / "table.csv"))
    assert "\n" not in sentence


def test_all_that_is_wrong_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        load(GOOD.replace("1,10.5", "0,inf").replace("Yes", "No"), tmp_path)
    assert [word in str(told.value) for word in ("tenure holds '0'", "total holds 'inf'", "churn never holds Yes")] == [
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tenure": ["1", "x", "3"]}, "tenure holds 'x' and must be a whole number, in row 2 of 3"),
        ({"tenure": pd.to_datetime(["2026-01-01"] * 3)}, "tenure is of type timestamp[us] and must be a whole number"),
        ({"contract": [b"a", b"\xff", b"c"]}, "contract is of type binary and must be a category"),
        ({"tenure": [1, None, 3]}, "tenure holds nothing and must be a whole number, in row 2 of 3"),
        ({"total": [None, None, None]}, "total is empty in all rows"),
        ({"churn": ["No", "No", "No"]}, "churn never holds Yes"),
    ],
)
def test_a_parquet_that_cannot_be_learnt_from_is_refused_in_one_line(
    change: dict[str, list[Any]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as told:
        parquet(pd.read_csv(io.StringIO(GOOD), na_values=[" "]).assign(**change), tmp_path)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty (0 bytes)"), (b"PAR1 and no more", "is not a Parquet file"), (b"x", "Parquet")],
)
def test_a_parquet_that_is_none_is_reported(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    file.write_bytes(content)
    with pytest.raises(DataError) as told:
        reading.load(str(file), project())
    assert said in str(told.value)
    assert "\n" not in str(told.value)


NUMBERS = (Column(name="size", kind="integer"), Column(name="rate", kind="number", most_missing=1))
EXACT = [
    # as a text; as a Parquet stores it; whole number; number
    ("9007199254740993", 2**53 + 1, 2**53 + 1, 2.0**53),
    ("-9223372036854775808", -(2**63), -(2**63), -(2.0**63)),
    ("9223372036854775807", 2**63 - 1, 2**63 - 1, 2.0**63),
    ("3.0", 3.0, 3, 3.0),
    (" 3 ", 3, 3, 3.0),
    ("+3", Decimal(3), 3, 3.0),
    ("1e3", 1000.0, 1000, 1000.0),
    ("True", True, 1, 1.0),
    ("false", False, 0, 0.0),
    ("007", 7, 7, 7.0),
]
WRONG = [
    ("100000000000000000000", Decimal(10**20), "and must be from -2^63 to 2^63 - 1"),
    ("9223372036854775808", np.uint64(2**63), "and must be from -2^63 to 2^63 - 1"),
    ("1e30", 1e30, "and must be from -2^63 to 2^63 - 1"),
    ("1.5", 1.5, "and must be a whole number"),
    ("1.5", Decimal("1.5"), "and must be a whole number"),
    ("inf", float("inf"), "and must be a whole number"),
    ("0x1F", "0x1F", "and must be a whole number"),
    ("1_000", "1_000", "and must be a whole number"),
    ("", None, "and must be a whole number"),
]


def of_both(text: str, stored: object, tmp_path: Path, *columns: Column) -> list[reading.Dataset | str]:
    """Return what is read from a CSV with the text and a Parquet file with the value in the second of three rows."""
    names = [column.name for column in columns]
    other = 1 if stored is None else cast("Callable[[int], object]", type(stored))(1)
    csv = "\n".join([",".join([*names, "churn"]), *(",".join([row] * len(names)) for row in ("1", text, "1"))])
    rows = [line + label for line, label in zip(csv.splitlines(), ["", ",No", ",Yes", ",No"], strict=True)]
    table = pa.table({**dict.fromkeys(names, pa.array([other, stored, other])), "churn": ["No", "Yes", "No"]})
    pq.write_table(table, tmp_path / "table.parquet")
    declared, found = project(*columns), list[reading.Dataset | str]()
    for read in (
        lambda: load("\n".join(rows), tmp_path, declared),
        lambda: reading.load(str(tmp_path / "table.parquet"), declared),
    ):
        try:
            found.append(read())
        except DataError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize(("text", "stored", "whole", "number"), EXACT)
def test_a_number_is_what_is_written_in_a_csv_and_in_a_parquet(
    text: str, stored: object, whole: int, number: float, tmp_path: Path
) -> None:
    for read in of_both(text, stored, tmp_path, *NUMBERS):
        assert isinstance(read, reading.Dataset), read
        assert (read.table["size"].tolist()[1], read.table["rate"].tolist()[1]) == (whole, number)
        assert str(read.table["size"].dtype) == "int64"


@pytest.mark.parametrize(("text", "stored", "rule"), WRONG)
def test_what_is_no_whole_number_of_64_bits_is_refused_by_column_value_and_row(
    text: str, stored: object, rule: str, tmp_path: Path
) -> None:
    for said in of_both(text, stored, tmp_path, NUMBERS[0]):
        assert isinstance(said, str)
        assert f"{rule}" in said
        assert "the column size holds " in said
        assert "in row 2 of 3" in said


def test_a_row_is_counted_through_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK", 64)
    rows = [f"{row},{'No' if row % 2 else 'Yes'}" for row in range(1, 99)]
    rows[70], rows[90] = "x,No", "x,No"
    with pytest.raises(DataError, match=r"size holds 'x' and must be a whole number, in row 71 of 98 \(2 such row"):
        load("\n".join(["size,churn", *rows]), tmp_path, project(NUMBERS[0]))


LATE = Column(name="reason", kind="category", most_missing=1)


def test_words_that_come_late_are_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 70_000
    reasons = [None] * (rows - 2) + ["moved", "price"]
    table = pd.DataFrame({"reason": reasons, "churn": np.where(np.arange(rows) % 2, "No", "Yes")})
    monkeypatch.setattr(source, "BLOCK", 1 << 12)
    for read in (parquet(table, tmp_path, project(LATE)), load(table.to_csv(index=False), tmp_path, project(LATE))):
        assert read.table["reason"].tolist()[-2:] == ["moved", "price"]
        assert read.table["reason"].isna().sum() == rows - 2


def test_a_column_has_as_many_words_as_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK", 256)
    words = [f"w{row * 7919 % 1009}" for row in range(3000)]
    table = pd.DataFrame({"reason": words, "churn": np.where(np.arange(3000) % 2, "No", "Yes")})
    read = load(table.to_csv(index=False), tmp_path, project(LATE)).table["reason"]
    assert read.tolist() == words
    assert list(read.cat.categories) == sorted(set(words))


TIMES = Split(how="time", by="seen")
UTC_TIME = pd.Timestamp("2026-01-01T22:30:00.123456")


@pytest.mark.parametrize(
    "texts",
    [
        ["2026-01-01T00:30:00Z", "2026-01-01T22:30:00.123456Z"],
        ["2026-01-01T02:30:00+02:00", "2026-01-02T00:30:00.123456+0200"],
        ["2026-01-01 00:30:00z", "2026-01-01T22:30:00.123456789Z"],
        ["2026-01-01", "2026-01-01T22:30:00.123456"],
    ],
)
def test_a_time_is_read_with_its_zone(texts: list[str], tmp_path: Path) -> None:
    table = pd.DataFrame({"size": [1, 2], "seen": texts, "churn": ["No", "Yes"]})
    declared = project(NUMBERS[0], split=TIMES)
    for read in (load(table.to_csv(index=False), tmp_path, declared), parquet(table, tmp_path, declared)):
        assert read.table["seen"].tolist()[1] == UTC_TIME


def test_times_with_a_zone_and_without_one_have_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK", 64)
    rows = [f"{row},2026-01-01T00:00:00{'' if row < 50 else 'Z'},{'No' if row % 2 else 'Yes'}" for row in range(1, 99)]
    with pytest.raises(DataError, match=r"holds '2026-01-01T00:00:00Z' with a time zone, and earlier rows .*row 50 of"):
        load("\n".join(["size,seen,churn", *rows]), tmp_path, project(NUMBERS[0], split=TIMES))


def test_old_times_of_a_parquet_stay_what_they_are(tmp_path: Path) -> None:
    old = np.array(["1500-01-02", "9999-12-31", "2026-01-01"], dtype="datetime64[us]")
    stored = pa.table({"size": [1, 2, 3], "seen": pa.array(old, pa.timestamp("us")), "churn": ["No", "Yes", "No"]})
    for int96 in (False, True):
        pq.write_table(stored, tmp_path / "t.parquet", use_deprecated_int96_timestamps=int96)
        read = reading.load(str(tmp_path / "t.parquet"), project(NUMBERS[0], split=TIMES))
        assert read.table["seen"].tolist() == [*map(pd.Timestamp, old)]


@pytest.mark.parametrize("stored", [pa.array([10**15, 1, 2], pa.timestamp("s")), pa.array([1, 2, 3])])
def test_a_parquet_whose_times_are_none_is_refused(stored: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"size": [1, 2, 3], "seen": stored, "churn": ["No", "Yes", "No"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"the column seen .* and must be a time \(ISO 8601\)"):
        reading.load(str(tmp_path / "t.parquet"), project(NUMBERS[0], split=TIMES))


@pytest.mark.parametrize(
    "header", ['"si\nze","chu rn"', '"si\r\nze","chu rn"', "si\u2028ze,chu rn", "\n\nsi\x85ze,chu rn"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_name_in_the_header_may_hold_any_character(header: str, end: str, tmp_path: Path) -> None:
    (name,) = {"si\nze", "si\r\nze", "si\u2028ze", "si\x85ze"} & {header.strip().split(",")[0].strip('"')}
    declared = replace(project(Column(name=name, kind="integer")), target=Target(name="chu rn", labels=("No", "Yes")))
    read = load(end.join([header, "1,No", "2,Yes", ""]), tmp_path, declared)
    assert read.table[name].tolist() == [1, 2]


def test_a_header_without_an_end_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no readable header: field larger than field limit"):
        load('"' + "x" * 200_000, tmp_path)
    with pytest.raises(DataError, match="is empty"):
        load("\ufeff\n", tmp_path)


@pytest.mark.parametrize(
    ("stored", "word"),
    [
        (pd.Series([1.0, 7.0, 2.5]), "7.0"),
        (pd.Series([1, 7, 2]), "7"),
        (pd.Series([1.5, 0.1, 2.5], dtype="float32"), "0.1"),
        (pd.Series([date(2026, 1, 2)] * 3), "2026-01-02"),
        (pd.Series([Decimal("1.50")] * 3), "1.50"),
        (pd.Series([1e20, 1e20, 0.5]), "1e+20"),
    ],
)
def test_a_word_of_a_parquet_is_that_of_the_csv_of_the_same_table(
    stored: "pd.Series[Any]", word: str, tmp_path: Path
) -> None:
    table = pd.DataFrame({"reason": stored, "churn": ["No", "Yes", "No"]})
    for read in (parquet(table, tmp_path, project(LATE)), load(table.to_csv(index=False), tmp_path, project(LATE))):
        assert read.table["reason"].tolist()[1] == word


@pytest.mark.parametrize("labels", [("False", "True"), ("false", "true"), ("FALSE", "TRUE")])
def test_truth_values_are_labels_as_the_project_spells_them(labels: tuple[str, str], tmp_path: Path) -> None:
    declared = replace(project(NUMBERS[0]), target=Target(name="churn", labels=labels, rarest=0.1))
    table = pd.DataFrame({"size": [1, 2, 3], "churn": [True, False, True]})
    for read in (
        parquet(table, tmp_path, declared),
        load(table.to_csv(index=False), tmp_path, declared),
        load("size,churn\n1,true\n2,false\n3,true\n", tmp_path, declared),
    ):
        assert read.table["churn"].tolist() == [labels[1], labels[0], labels[1]]


@pytest.mark.parametrize("words", [("False", "True"), ("false", "true")])
def test_truth_values_of_a_feature_are_the_declared_categories(words: tuple[str, str], tmp_path: Path) -> None:
    declared = project(Column(name="paid", kind="category", categories=words))
    table = pd.DataFrame({"paid": [True, False, None], "churn": ["No", "Yes", "No"]})
    no, yes = words
    of_csv = load(f"paid,churn\n{yes},No\n{no},Yes\n,No\n", tmp_path, declared)
    pd.testing.assert_frame_equal(parquet(table, tmp_path, declared).table, of_csv.table)
    with pytest.raises(DataError, match=f"and may hold only {no} or {yes}|and may hold only {no}, {yes}"):
        load(f"paid,churn\n{yes.swapcase()},No\n", tmp_path, declared)


@pytest.mark.parametrize("stored", [[True, False, True], pd.Categorical([True, False, True])])
def test_truth_values_of_a_feature_without_a_spelling_are_refused(stored: object, tmp_path: Path) -> None:
    table = pd.DataFrame({"reason": stored, "churn": ["No", "Yes", "No"]})
    with pytest.raises(DataError, match=r"reason holds truth values, .*declare categories=\('False', 'True'\)"):
        parquet(table, tmp_path, project(LATE))


def test_rows_may_be_grouped_by_truth_values(tmp_path: Path) -> None:
    declared = project(NUMBERS[0], split=Split(how="group", by="paid"))
    table = pd.DataFrame({"size": [1, 2, 3], "paid": [True, False, True], "churn": ["No", "Yes", "No"]})
    assert parquet(table, tmp_path, declared).table["paid"].tolist() == ["True", "False", "True"]


def test_a_value_never_breaks_the_line_of_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        load(GOOD.replace("Yearly", '"Year\nly"').replace("2,,", '"' + "x\n" * 400 + '",,'), tmp_path)
    assert r"contract holds Year\nly, and may hold only" in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600


CHANCE = np.random.default_rng(7)
LABELS = CHANCE.random(400) < 0.3


def table_of(**features: object) -> pd.DataFrame:
    return pd.DataFrame({"churn": np.where(LABELS, "Yes", "No"), **features})


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (Column(name="closed", kind="number"), LABELS * 2.0),
        (Column(name="closed", kind="number"), np.where(LABELS, np.nan, CHANCE.random(400))),
        (Column(name="closed", kind="category"), np.where(LABELS, "by the customer", "open")),
    ],
)
def test_a_feature_that_gives_the_answer_away_is_refused_unless_declared_decisive(
    column: Column, values: object, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="closed predicts churn on its own"):
        parquet(table_of(closed=values), tmp_path, project(column))
    decisive = project(replace(column, decisive=True))
    assert len(parquet(table_of(closed=values), tmp_path, decisive).table) == 400


def test_a_feature_that_only_helps_is_no_leak(tmp_path: Path) -> None:
    helps, name_of_the_row = LABELS + CHANCE.random(400) * 1.5, [f"row {number}" for number in range(400)]
    columns = Column(name="helps", kind="number"), Column(name="name", kind="category")
    assert len(parquet(table_of(helps=helps, name=name_of_the_row), tmp_path, project(*columns)).table) == 400


def test_too_few_rows_of_a_label_and_too_many_gaps_are_refused(tmp_path: Path) -> None:
    rare = table_of(size=1.0).assign(churn=["Yes"] * 3 + ["No"] * 397)
    with pytest.raises(DataError, match=r"churn holds Yes in 3 of 400 rows, less than 10.0%"):
        parquet(rare, tmp_path, project(Column(name="size", kind="number")))
    gaps = table_of(size=np.where(np.arange(400) < 300, np.nan, 1.0))
    with pytest.raises(DataError, match=r"size is empty in 75% of the rows, and at most 50% may be empty"):
        parquet(gaps, tmp_path, project(Column(name="size", kind="number")))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("/no/such.csv", "No such file or directory"),
        ("file:///no/such.csv", "No such file or directory"),
        ("/", "Is a directory"),
        ("s3://bucket", "write s3://BUCKET/KEY"),
        ("https://x/y.csv", "https:// is not known"),
        ("s3:///key.csv", "the bucket or the key is missing"),
        ("s3://buc ket/key.csv", "write s3://BUCKET/KEY"),
        ("file://server/share/y.csv", "must have no host, and this one has server; write file:///PATH"),
    ],
)
def test_an_address_that_cannot_be_read_is_reported(uri: str, said: str) -> None:
    with pytest.raises(DataError) as told:
        reading.load(uri, project())
    assert said in str(told.value)
    assert uri in str(told.value)


@pytest.mark.usefixtures("s3")
def test_a_table_is_read_from_s3() -> None:
    assert len(reading.load("s3://bucket/here.csv", project()).table) == 3


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("key", ODD_KEYS)
def test_the_key_of_an_object_is_taken_letter_by_letter(key: str) -> None:
    assert reading.load(f"s3://bucket/{key}", project()).table["tenure"].tolist() == [1, 2, 3, 3 + len(key)]


@pytest.mark.parametrize("name", ["left#2.csv", "left?2.csv", "a b.csv", "a:b.csv"])
def test_a_file_is_found_by_its_uri_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(GOOD)
    (tmp_path / "left").write_text("something else")
    for uri in (f"file://{tmp_path}/{name}", (tmp_path / name).as_uri(), f"{tmp_path}/{name}"):
        assert len(reading.load(uri, project()).table) == 3


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("key", "error", "said"),
    [
        ("gone.csv", DataError, "no such key"),
        ("secret.csv", DataError, "access is denied"),
        ("odd.csv", StoreError, "S3 responded Odd it is so"),
    ],
)
def test_what_s3_refuses_is_reported(key: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as told:
        reading.load(f"s3://bucket/{key}", project())
    assert f"s3://bucket/{key}" in str(told.value)
