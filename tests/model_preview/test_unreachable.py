"""A server that is down, slow, broken or no MLflow: one sentence says why nothing could be verified."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from model_preview import reading
from model_preview.facts import Change, Reference, Unverified
from model_preview.server import Server
from tests.model_preview.server import says, server

MINUTE = 60.0
CHANGE = Change(endpoint="churn", old=Reference(model="churn", version=1), new=Reference(model="churn", version=2))


def why(uri: str, seconds: float = MINUTE) -> str:
    found = reading.read(uri, [CHANGE], seconds=seconds)
    assert isinstance(found, Unverified)
    return found.why


def test_a_token_is_sent_and_never_shown() -> None:
    seen: list[str] = []

    def refuses(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Authorization"])
        says(403, '{"error_code": "PERMISSION_DENIED", "message": "token abc may not read"}')(request)

    with server(refuses) as uri:
        found = reading.read(uri, [CHANGE], token="abc", seconds=MINUTE)
    assert isinstance(found, Unverified)
    assert found.why == f"MLflow at {uri} responded with HTTP 403 (token abc may not read)"
    assert set(seen) == {"Bearer abc"}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, '{"error_code": "INTERNAL_ERROR", "message": "no database"}', "responded with HTTP 500 (no database)"),
        (502, "<html><body>Bad gateway</body></html>", "responded with HTTP 502"),
        (429, "slow down", "responded with HTTP 429 (slow down)"),
        (403, "Invalid Host header", "responded with HTTP 403 (Invalid Host header)"),
        (302, "", "responded with HTTP 302"),
        (404, "not here", "responded with HTTP 404 (not here)"),
        (200, "<html>hello</html>", "is not an MLflow server: the response does not have MLflow's form"),
        (200, "{}", "is not an MLflow server: the response does not have MLflow's form"),
    ],
)
def test_a_server_without_an_answer_could_not_verify(status: int, body: str, said: str) -> None:
    with server(says(status, body)) as uri:
        assert why(uri) == f"MLflow at {uri} {said}"


def test_a_server_that_hangs_is_given_up_after_the_limit() -> None:
    over = threading.Event()

    def hangs(request: BaseHTTPRequestHandler) -> None:
        del request
        over.wait()

    with server(hangs) as uri:
        assert why(uri, seconds=0.2) == f"MLflow at {uri} did not respond within 0.2 s"
        over.set()


def test_a_server_that_answers_byte_by_byte_is_given_up_after_the_limit_too() -> None:
    over = threading.Event()

    def drips(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        while not over.wait(0.02):
            request.wfile.write(b" ")

    with server(drips) as uri:
        assert why(uri, seconds=0.5) == f"MLflow at {uri} did not respond within 0.5 s"
        over.set()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:1", "MLflow at http://127.0.0.1:1 does not respond: "),
        ("http://ada:secret@127.0.0.1:1", "MLflow at http://(hidden)@127.0.0.1:1 does not respond: "),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db is not the address of an MLflow server; write http://HOST:PORT"),
        ("", " is not the address of an MLflow server"),
        ("http://[bad", "http://[bad is not the address of an MLflow server"),
        ("http://127.0.0.1:99999", "is not the address of an MLflow server"),
    ],
)
def test_an_address_where_no_mlflow_is_could_not_verify(uri: str, said: str) -> None:
    assert said in why(uri)
    assert "secret" not in why(uri)


@pytest.mark.parametrize("token", ["sesame-open\n", " sesame-open", "sesame\x7f-open", "sésame-open", "sesame\nopen"])
def test_a_token_that_cannot_be_sent_is_not_shown(token: str) -> None:
    with server(says(200, "{}")) as uri:
        found = reading.read(uri, [CHANGE], token=token, seconds=MINUTE)
    assert isinstance(found, Unverified)
    assert "open" not in found.why
    is_clean = token.strip() == "sesame-open"
    assert ("does not have MLflow's form" if is_clean else "has characters that HTTP does not allow") in found.why


def test_a_password_with_the_sign_before_a_host_is_hidden_whole() -> None:
    assert "http://(hidden)@127.0.0.1:1 does not respond" in why("http://ada:se@cret@127.0.0.1:1")


@pytest.mark.parametrize("proxy", ["ftp://ada:secret@proxy:1", "socks5://ada:secret@proxy:1"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    found = why("http://127.0.0.1:1")
    assert found.startswith("the proxy of the environment cannot be used for http://127.0.0.1:1: ")
    assert "secret" not in found


def test_a_port_that_is_forwarded_on_this_machine_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    hosts = list[str]()

    def answers(request: BaseHTTPRequestHandler) -> None:
        hosts.append(request.headers["Host"])
        says(500, "no database")(request)

    with server(answers) as uri:
        found = asyncio.run(reading.read_at(Server(uri=uri, host="mlflow:5000"), [CHANGE], MINUTE))
    assert isinstance(found, Unverified)
    assert "HTTP 500 (no database)" in found.why
    assert set(hosts) == {"mlflow:5000"}
