import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training import data
from training.data import Column, DataError, StoreError, Target

COLUMNS = (
    Column(name="tenure", kind="integer"),
    Column(name="total", kind="number"),
    Column(name="contract", kind="category"),
)
TARGET = Target(name="churn", labels=("No", "Yes"))
GOOD = "tenure,total,contract,churn\n1,10.5,Monthly,No\n2,,Yearly,Yes\n3, ,Monthly,No\n"


def load(content: str | bytes, tmp_path: Path) -> data.Dataset:
    file = tmp_path / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return data.load(str(file), COLUMNS, TARGET)


def test_a_blank_is_a_missing_number(tmp_path: Path) -> None:
    table = load(GOOD, tmp_path).table
    assert table["total"].isna().tolist() == [False, True, True]
    assert [str(kind) for kind in table[["tenure", "total"]].dtypes] == ["int64", "float64"]


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    assert load(GOOD, tmp_path).digest == hashlib.sha256(GOOD.encode()).hexdigest()


def test_a_column_that_the_model_does_not_know_is_left_out_and_named(tmp_path: Path) -> None:
    dataset = load(
        GOOD.replace("tenure,", "id,tenure,").replace("\n1", "\n9,1").replace("\n2", "\n9,2").replace("\n3", "\n9,3"),
        tmp_path,
    )
    assert dataset.ignored == ("id",)
    assert list(dataset.table.columns) == ["tenure", "total", "contract", "churn"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert len(load(b"\xef\xbb\xbf" + GOOD.encode(), tmp_path).table) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD.replace("total", "TotalCharges"), "lacks the column total, which the model needs"),
        (GOOD.replace("total", "totals"), "is totals meant as total?"),
        (GOOD.replace("tenure,total", "a,b"), "lacks the columns tenure, total"),
        (GOOD.replace("1,10.5", "x,10.5"), "tenure holds 'x' where a number must stand, in row 1 of 3"),
        (GOOD.replace("1,10.5", "1.5,10.5"), "tenure holds '1.5' where a whole number must stand, in row 1 of 3"),
        (GOOD.replace("3, ", ", "), "tenure holds nothing where a whole number must stand, in row 3 of 3"),
        (GOOD.replace("10.5", "ten"), "total holds 'ten' where a number must stand"),
        (GOOD.replace("10.5", ""), "total has no value in any row"),
        (GOOD.replace("Yes", "Perhaps"), "churn holds Perhaps, and may hold only No or Yes"),
        (GOOD.replace(",Yes", ","), "churn holds nan, and may hold only No or Yes"),
        (GOOD.replace("Yes", "No"), "churn never says Yes"),
        (GOOD.splitlines()[0], "has a header and no rows"),
        ("", "is empty"),
        (" \n", "is empty"),
        (GOOD.replace("1,10.5", "1,2,3,10.5"), "is not a CSV"),
        (GOOD.replace("Yearly", "J\xe4hrlich").encode("latin-1"), "is not UTF-8: byte 0xe4 in line 3"),
        (b"PK\x03\x04\xff\xfe\x00", "is not UTF-8"),
        (b"a\x00b", "has a header and no rows"),
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


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("/no/such.csv", "No such file or directory"),
        ("file:///no/such.csv", "No such file or directory"),
        ("/", "Is a directory"),
        ("s3://bucket", "write s3://BUCKET/KEY"),
        ("https://x/y.csv", "https:// is not known"),
    ],
)
def test_an_address_that_cannot_be_read_is_told(uri: str, said: str) -> None:
    with pytest.raises(DataError) as told:
        data.read(uri)
    assert said in str(told.value)
    assert uri in str(told.value)


class _S3(BaseHTTPRequestHandler):
    """Answers as S3 does, by the key."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, code = {
            "/bucket/here.csv": (200, ""),
            "/bucket/secret.csv": (403, "AccessDenied"),
            "/bucket/odd.csv": (400, "Odd"),
        }.get(self.path, (404, "NoSuchKey"))
        body = GOOD if status == 200 else f"<Error><Code>{code}</Code><Message>it is so</Message></Error>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _S3) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "word")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("s3")
def test_a_table_is_read_from_s3() -> None:
    assert len(data.load("s3://bucket/here.csv", COLUMNS, TARGET).table) == 3


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
        data.read(f"s3://bucket/{key}")
    assert f"s3://bucket/{key}" in str(told.value)
