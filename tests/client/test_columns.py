"""JSON values of cells of each kind, and the error messages for invalid ones."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from client import columns
from client.errors import InputError
from model_server.predict.schema import request_schema
from model_server.predict.signature import Column as ModelColumn
from model_server.predict.signature import Signature, read_signature
from model_server.predict.types import Kind
from training.data.columns import ColumnReader
from training.mlflow_logging import truth_values
from training.project import Classifier, Column, Parameters, Project, Rows, Target


def never(_rows: Rows, _parameters: Parameters) -> Classifier:
    raise AssertionError


def of(kind: Kind) -> columns.Column:
    """Return the column as /schema describes it."""
    schema = request_schema(Signature(columns=[ModelColumn(name="x", kind=kind)]), "m version 1")
    return columns.read(schema).columns[0]


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("double", "1e3", 1000.0),
        ("float", "NaN", None),
        ("double", "", None),
        ("long", "-7", -7),
        ("long", "12.0", 12),
        ("long", str(2**63 - 1), 2**63 - 1),
        ("long", "9007199254740993.0", 2**53 + 1),
        ("long", "True", 1),
        ("double", "false", 0.0),
        ("double", " NA ", None),
        ("boolean", "TRUE", True),
        ("boolean", "0", False),
        ("string", " padded ", " padded "),
        ("string", "NA", None),
        ("datetime", "2026-03-01T12:00:00+01:00", "2026-03-01T12:00:00+01:00"),
        ("binary", "aGk=", "aGk="),
        ("other", "[1, 2]", [1, 2]),
    ],
)
def test_the_text_of_a_cell_becomes_the_value_of_its_column(kind: Kind, cell: str, value: object) -> None:
    assert columns.reader(of(kind), text=True)(cell) == value


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("double", Decimal("1.5"), 1.5),
        ("double", float("nan"), None),
        ("double", True, 1.0),
        ("double", "N/A", None),
        ("long", 12.0, 12),
        ("long", False, 0),
        ("long", Decimal(2**53 + 1), 2**53 + 1),
        ("boolean", True, True),
        ("boolean", 1, True),
        ("boolean", "false", False),
        ("string", 12, "12"),
        ("string", 12.5, "12.5"),
        ("string", float("nan"), None),
        ("string", Decimal("1.50"), "1.50"),
        ("string", date(2026, 3, 1), "2026-03-01"),
        ("string", datetime.fromisoformat("2026-03-01T12:00:00"), "2026-03-01 12:00:00"),
        ("string", b"plan", "plan"),
        ("datetime", "2026-03-01", "2026-03-01"),
        ("binary", "aGk=", "aGk="),
        ("datetime", datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00+00:00"),
        ("datetime", date(2026, 3, 1), "2026-03-01"),
        ("binary", b"hi", "aGk="),
        ("other", {"at": date(2026, 3, 1)}, {"at": "2026-03-01"}),
    ],
)
def test_an_object_of_a_typed_file_becomes_the_value_of_its_column(kind: Kind, cell: object, value: object) -> None:
    assert columns.reader(of(kind), text=False)(cell) == value


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("double", "ten"),
        ("long", "1e400"),
        ("long", "1e30"),
        ("long", "0x10"),
        ("double", "nan(1)"),
        ("boolean", "maybe"),
        ("boolean", ""),
        ("datetime", "yesterday"),
        ("binary", "not base64"),
        ("other", "{"),
    ],
)
def test_a_text_that_is_no_value_of_its_column_is_refused(kind: Kind, cell: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        columns.reader(of(kind), text=True)(cell)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("string", True),
        ("string", ["a"]),
        ("string", b"\xff"),
        ("long", float("nan")),
        ("long", float("inf")),
        ("long", date(2026, 3, 1)),
        ("boolean", 2),
        ("datetime", "soon"),
    ],
)
def test_an_object_that_is_no_value_of_its_column_is_refused(kind: Kind, cell: object) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        columns.reader(of(kind), text=False)(cell)


@pytest.mark.parametrize("words", [("false", "true"), ("False", "True"), ("FALSE", "TRUE")])
def test_a_truth_value_becomes_the_category_that_training_made_of_it(words: tuple[str, str]) -> None:
    project = Project(
        model="m",
        columns=[Column(name="paid", kind="category", categories=words)],
        target=Target(name="churn", labels=("No", "Yes")),
        parameters=Parameters,
        fit=never,
    )
    inputs = json.dumps([{"name": "paid", "type": "string", "required": True}])
    signature = read_signature({"signature": {"inputs": inputs}, "metadata": {"truth_values": truth_values(project)}})
    read = columns.reader(columns.read(request_schema(signature, "m version 1")).columns[0], text=False)
    trained = ColumnReader("paid", "category", words)
    trained.add(pa.array([False, True, None]))
    assert [read(False), read(True)] == trained.series().tolist()[:2] == list(words)
    assert read("other") == "other"


@pytest.mark.parametrize("metadata", [None, "text", {"truth_values": ["paid"]}, {"truth_values": {"paid": ["one"]}}])
def test_a_truth_value_without_a_known_spelling_is_refused(metadata: object) -> None:
    inputs = json.dumps([{"name": "paid", "type": "string", "required": True}])
    signature = read_signature({"signature": {"inputs": inputs}, "metadata": metadata})
    with pytest.raises(TypeError):
        columns.reader(columns.read(request_schema(signature, "m version 1")).columns[0], text=False)(True)


def test_a_number_of_few_bits_is_the_word_that_a_csv_has() -> None:
    (cell,) = pa.array([0.1], pa.float32()).to_pylist()
    assert columns.reader(of("string"), text=False, stored=pa.float32())(cell) == "0.1"


def test_a_model_without_a_signature_cannot_be_asked_about_a_file() -> None:
    with pytest.raises(InputError, match=r"m version 1 does not say which columns it takes.*infer_signature"):
        columns.read(request_schema(None, "m version 1"))


def test_a_column_that_the_model_can_do_without_need_not_be_there() -> None:
    signature = Signature(
        columns=[ModelColumn(name="x", kind="double"), ModelColumn(name="y", kind="long", required=False)]
    )
    assert [column.required for column in columns.read(request_schema(signature, "m")).columns] == [True, False]
