import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.training.conftest import ODD_KEYS
from training import data, source
from training.data import DataError, StoreError
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


def load(content: str | bytes, tmp_path: Path, declared: Project[Any] | None = None) -> data.Dataset:
    file = tmp_path / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return data.load(str(file), declared or project())


def parquet(table: pd.DataFrame, tmp_path: Path, declared: Project[Any] | None = None) -> data.Dataset:
    file = tmp_path / "table.parquet"
    table.to_parquet(file)
    return data.load(str(file), declared or project())


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
    with pytest.raises(DataError, match=r"seen holds 'soon' where a time \(ISO 8601\) must stand, in row 2 of 2"):
        load(content.replace("2026-01-03T10:00:00", "soon"), tmp_path, declared)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert len(load(b"\xef\xbb\xbf" + GOOD.encode(), tmp_path).table) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD.replace("total", "TotalCharges"), "lacks the column total, which the model needs"),
        (GOOD.replace("total", "totals"), "is totals meant as total?"),
        (GOOD.replace("tenure,total", "a,b"), "lacks the columns tenure, total"),
        (GOOD.replace("1,10.5", "x,10.5"), "tenure holds 'x' where a whole number must stand, in row 1 of 3"),
        (GOOD.replace("1,10.5", "0,10.5"), "tenure holds '0' and must be at least 1, in row 1 of 3"),
        (GOOD.replace("10.5", "inf"), "total holds 'inf' where a finite number must stand"),
        (GOOD.replace("Yearly", "Weekly"), "contract holds Weekly, and may hold only Monthly, Yearly"),
        (GOOD.replace("contract", "churn"), "has the column churn more than once"),
        (GOOD.replace("1,10.5", "1.5,10.5"), "tenure holds '1.5' where a whole number must stand, in row 1 of 3"),
        (GOOD.replace("3, ", ", "), "tenure holds nothing where a whole number must stand, in row 3 of 3"),
        (GOOD.replace("10.5", "ten"), "total holds 'ten' where a number must stand"),
        (GOOD.replace("10.5", ""), "total has no value in any row"),
        (GOOD.replace("Yes", "Perhaps"), "churn holds Perhaps, and may hold only No or Yes"),
        (GOOD.replace(",Yes", ","), "churn holds nothing in 1 rows, as in row 2"),
        (GOOD.replace("Yes", "Perhaps").replace("1,", "0,"), "tenure holds '0' and must be at least 1"),
        (GOOD.replace("Yes", "No"), "churn never says Yes"),
        (GOOD.splitlines()[0], "has a header and no rows"),
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


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        load(GOOD.replace("1,10.5", "0,inf").replace("Yes", "No"), tmp_path)
    assert [word in str(told.value) for word in ("tenure holds '0'", "total holds 'inf'", "churn never says Yes")] == [
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tenure": ["1", "x", "3"]}, "tenure is of type large_string where a whole number must stand"),
        ({"tenure": [1, None, 3]}, "tenure holds nothing where a whole number must stand, in row 2 of 3"),
        ({"total": [None, None, None]}, "total has no value in any row"),
        ({"churn": ["No", "No", "No"]}, "churn never says Yes"),
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
def test_a_parquet_that_is_none_is_told(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    file.write_bytes(content)
    with pytest.raises(DataError) as told:
        data.load(str(file), project())
    assert said in str(told.value)
    assert "\n" not in str(told.value)


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
    with pytest.raises(DataError, match="closed tells churn all by itself"):
        parquet(table_of(closed=values), tmp_path, project(column))
    decisive = project(replace(column, decisive=True))
    assert len(parquet(table_of(closed=values), tmp_path, decisive).table) == 400


def test_a_feature_that_only_helps_is_no_leak(tmp_path: Path) -> None:
    helps, name_of_the_row = LABELS + CHANCE.random(400) * 1.5, [f"row {number}" for number in range(400)]
    columns = Column(name="helps", kind="number"), Column(name="name", kind="category")
    assert len(parquet(table_of(helps=helps, name=name_of_the_row), tmp_path, project(*columns)).table) == 400


def test_too_few_rows_of_a_label_and_too_many_gaps_are_refused(tmp_path: Path) -> None:
    rare = table_of(size=1.0).assign(churn=["Yes"] * 3 + ["No"] * 397)
    with pytest.raises(DataError, match=r"churn says Yes in 3 of 400 rows, less than 10.0%"):
        parquet(rare, tmp_path, project(Column(name="size", kind="number")))
    gaps = table_of(size=np.where(np.arange(400) < 300, np.nan, 1.0))
    with pytest.raises(DataError, match=r"size is empty in 75% of the rows, and may be in 50%"):
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
        ("file://server/share/y.csv", "server stands where no host may stand; write file:///PATH"),
    ],
)
def test_an_address_that_cannot_be_read_is_told(uri: str, said: str) -> None:
    with pytest.raises(DataError) as told:
        data.load(uri, project())
    assert said in str(told.value)
    assert uri in str(told.value)


@pytest.mark.usefixtures("s3")
def test_a_table_is_read_from_s3() -> None:
    assert len(data.load("s3://bucket/here.csv", project()).table) == 3


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("key", ODD_KEYS)
def test_the_key_of_an_object_is_taken_letter_by_letter(key: str) -> None:
    assert data.load(f"s3://bucket/{key}", project()).table["tenure"].tolist() == [1, 2, 3, 3 + len(key)]


@pytest.mark.parametrize("name", ["left#2.csv", "left?2.csv", "a b.csv", "a:b.csv"])
def test_a_file_is_found_by_its_uri_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(GOOD)
    (tmp_path / "left").write_text("something else")
    for uri in (f"file://{tmp_path}/{name}", (tmp_path / name).as_uri(), f"{tmp_path}/{name}"):
        assert len(data.load(uri, project()).table) == 3


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("key", "error", "said"),
    [
        ("gone.csv", DataError, "no such key"),
        ("secret.csv", DataError, "access denied"),
        ("odd.csv", StoreError, "S3 answered Odd it is so"),
    ],
)
def test_what_s3_refuses_is_told(key: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as told:
        data.load(f"s3://bucket/{key}", project())
    assert f"s3://bucket/{key}" in str(told.value)
