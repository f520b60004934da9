"""Login to MLflow with a browser: a real Envoy with the program's configuration, and a double of an issuer."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from components import mlflow_gateway, mlflow_login
from components.mlflow_gateway import IDENTITIES
from components.mlflow_login import CALLBACK, CLIENT_SECRET, COOKIE_KEY, ID_TOKEN, LOGOUT, SECRETS, Login
from components.router.authentication import Callers
from tests.components.test_mlflow_gateway import envoy, free_port
from tests.issuer import Issuer

pytestmark = pytest.mark.long
HOST, CLIENT = "mlflow.example.com", "mlflow-web"
PAGE, READ = "/?page=models", "/ajax-api/2.0/mlflow/experiments/search"
ALIAS, VERSION = "/ajax-api/2.0/mlflow/registered-models/alias", "/ajax-api/2.0/mlflow/model-versions/create"
REQUESTS = (("GET", PAGE), ("GET", READ), ("POST", ALIAS), ("POST", VERSION))


@dataclass
class Provider:
    """Issuer of OpenID Connect: its login page accepts everybody, its token endpoint only what the standard allows."""

    issuer: Issuer = field(default_factory=Issuer)
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    codes: dict[str, tuple[Mapping[str, str], Mapping[str, Any]]] = field(
        default_factory=dict[str, tuple[Mapping[str, str], Mapping[str, Any]]]
    )

    def logs_in(self, location: str, **claims: Any) -> str:
        """Return where the browser is sent back from the login page at `location`, as a path at MLflow's host."""
        asked = dict(parse_qsl(urlsplit(location).query))
        assert asked["redirect_uri"] == f"https://{HOST}{CALLBACK}"
        assert (asked["response_type"], asked["client_id"], asked["scope"]) == ("code", CLIENT, "openid")
        code = secrets.token_hex(8)
        self.codes[code] = asked, claims
        return f"{CALLBACK}?{urlencode({'code': code, 'state': asked['state']})}"

    def exchange(self, authorization: str, body: str) -> tuple[int, str]:
        sent = dict(parse_qsl(body))
        asked, claims = self.codes.pop(sent["code"], ({}, {}))
        client = base64.b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).decode()
        expected = (f"Basic {client}", asked.get("redirect_uri"), asked.get("code_challenge"))
        if (authorization, sent["redirect_uri"], challenge.rstrip("=")) != expected:
            return 400, json.dumps({"error": "invalid_grant"})
        given: dict[str, Any] = {"iss": "https://login.example.com/", "aud": CLIENT, **claims}
        token = self.issuer.token("ada", **given)
        return 200, json.dumps({"access_token": "x", "id_token": token, "token_type": "Bearer", "expires_in": 3600})


@dataclass
class Browser:
    """Browser that keeps the cookies of MLflow's host; a load balancer ends its TLS."""

    uri: str
    cookies: dict[str, str] = field(default_factory=dict[str, str])

    def asks(self, method: str, path: str, **headers: str) -> httpx.Response:
        cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        given = {"Host": HOST, **(cookies if self.cookies else {}), **headers}
        answer = httpx.request(method, self.uri + path, headers=given, content=b"", timeout=20)
        for cookie in answer.headers.get_list("set-cookie"):
            ((name, morsel),) = SimpleCookie(cookie).items()
            if "1970" in morsel["expires"]:
                self.cookies.pop(name, None)
                continue
            assert (morsel["secure"], morsel["httponly"], morsel["samesite"]) == (True, True, "Lax")
            assert (morsel["domain"], morsel["path"], name.startswith("__Host-")) == ("", "/", True)
            self.cookies[name] = morsel.value
        return answer


class _Shows(BaseHTTPRequestHandler):
    """Responds 200 with the headers of the request."""

    protocol_version = "HTTP/1.1"

    def _respond(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


@dataclass(frozen=True)
class Site:
    """Server behind a gateway with a login."""

    uri: str
    provider: Provider
    cluster: Issuer

    def comes_back(self, **claims: Any) -> tuple[Browser, httpx.Response]:
        """Log in with these claims in the ID token; return the browser and the response to its coming back."""
        browser = Browser(self.uri)
        back = self.provider.logs_in(browser.asks("GET", PAGE).headers["location"], **claims)
        return browser, browser.asks("GET", back)

    def statuses(self, **claims: Any) -> list[int]:
        """Return the statuses of REQUESTS after a login with these claims in the ID token."""
        browser, _ = self.comes_back(**claims)
        return [browser.asks(*request).status_code for request in REQUESTS]


@contextmanager
def guarded(folder: Path, **changes: Any) -> Generator[Site]:
    """Run a server and its gateway, and an issuer whose keys and token endpoint have the same address."""
    provider, cluster, port = Provider(), Issuer(), free_port()
    (folder / CLIENT_SECRET).write_text(provider.secret)
    (folder / COOKIE_KEY).write_text(secrets.token_hex(32))
    for name, text in mlflow_login.secret_files().items():
        (folder / name).write_text(text.replace(SECRETS, str(folder)))
    socket = folder / "sock"
    with (
        ThreadingUnixStreamServer(str(socket), _Shows) as server,
        provider.issuer.serving(folder, exchange=provider.exchange) as (keys, certificate),
    ):
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        login = Login(
            host=HOST,
            tokens=Callers(
                issuer="https://login.example.com/", audience=CLIENT, keys=keys, authorities=str(certificate)
            ),
            authorization_endpoint="https://login.example.com/authorize",
            token_endpoint=keys.replace("/keys", "/token"),
            groups={"people": ["ml"], "promoter": ["leads"]},
        )
        configuration = mlflow_gateway.gateway(
            login=replace(login, **changes), socket=str(socket), port=port, keys=cluster.keys
        )
        written = json.loads(json.dumps(configuration).replace(SECRETS, str(folder)))
        with envoy(written, port, folder):
            yield Site(f"http://127.0.0.1:{port}", provider, cluster)
        server.shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(tmp_path_factory.mktemp("login")) as made:
        yield made


def test_a_browser_is_sent_to_the_issuer_and_returns_to_the_page_that_it_asked_for(site: Site) -> None:
    browser, answer = site.comes_back(groups=["ml"])
    assert (answer.status_code, answer.headers["location"]) == (302, f"https://{HOST}{PAGE}")
    page = browser.asks("GET", PAGE)
    assert page.status_code == 200
    assert not {"cookie", ID_TOKEN, "authorization"} & page.json().keys(), "MLflow gets no token of the person"


@pytest.mark.parametrize(
    ("groups", "statuses"),
    [
        (["staff", "ml"], [200, 200, 403, 403]),
        ("ml", [200, 200, 403, 403]),
        (["leads"], [200, 200, 200, 403]),
        (["mls", "ml "], [403, 403, 403, 403]),
        (None, [403, 403, 403, 403]),
    ],
)
def test_the_groups_of_a_person_decide_what_the_person_may_do(site: Site, groups: Any, statuses: list[int]) -> None:
    assert site.statuses(groups=groups) == statuses


def test_an_id_token_counts_only_for_this_client_from_this_issuer_until_it_expires(site: Site) -> None:
    assert site.statuses(groups=["leads"], aud="another") == [403] * 4
    assert site.statuses(groups=["leads"], iss="https://login.example.org/") == [401] * 4
    assert site.statuses(groups=["leads"], exp=time.time() - 60)[1:] == [401] * 3


def test_a_browser_that_has_dropped_its_expired_id_token_is_sent_to_the_issuer_again(site: Site) -> None:
    browser, _ = site.comes_back(groups=["ml"])
    (expired,) = [name for name in browser.cookies if name.endswith("id-token")]
    del browser.cookies[expired]
    assert browser.asks("GET", PAGE).headers["location"].startswith("https://login.example.com/authorize?")


def test_a_code_counts_only_in_the_browser_that_asked_for_it(site: Site) -> None:
    mine, stranger = Browser(site.uri), Browser(site.uri)
    back = site.provider.logs_in(mine.asks("GET", PAGE).headers["location"], groups=["leads"])
    stranger.asks("GET", PAGE)
    for forged in (back.replace("state=", "state=e30"), back.partition("&state")[0]):
        assert mine.asks("GET", forged).status_code == 401
    for other in (stranger, Browser(site.uri)):
        assert other.asks("GET", back).status_code == 401
        assert other.asks("GET", READ).status_code == 401


def test_changed_cookies_and_an_id_token_in_another_place_are_no_session(site: Site) -> None:
    browser, _ = site.comes_back(groups=["ml"])
    assert browser.asks("GET", READ).status_code == 200
    for name in browser.cookies:
        changed = {**browser.cookies, name: browser.cookies[name][:-4] + "AAAA"}
        assert Browser(site.uri, changed).asks("GET", READ).status_code == 401, name
    claims: dict[str, Any] = {"iss": "https://login.example.com/", "aud": CLIENT, "groups": ["leads"]}
    token = site.provider.issuer.token("ada", **claims)
    stranger = Browser(site.uri)
    assert stranger.asks("GET", READ, **{ID_TOKEN: token}).status_code == 401
    assert stranger.asks("GET", READ, Authorization=f"Bearer {token}").status_code in {401, 403}
    assert browser.asks("POST", ALIAS, **{ID_TOKEN: token}).status_code == 403, "the session's own token decides"
    assert browser.asks("GET", READ, Host="mlflow").status_code == 401, "another host has no login"


def test_requests_of_the_pages_script_are_refused_instead_of_redirected(site: Site) -> None:
    for method, path in (("GET", READ), ("POST", READ), ("POST", "/graphql")):
        answer = Browser(site.uri).asks(method, path)
        assert answer.status_code == 401
        assert f"log in with a browser at https://{HOST}" in answer.json()["message"]


def test_programs_go_on_sending_tokens_of_service_accounts_and_health_checks_none(site: Site) -> None:
    program = Browser(site.uri)
    bearer = {"Authorization": f"Bearer {site.cluster.token(IDENTITIES['people'])}"}
    assert [program.asks(*request, **bearer).status_code for request in REQUESTS] == [200, 200, 403, 403]
    assert program.asks("GET", "/health").status_code == 200
    assert program.asks("GET", READ, Host="mlflow:5000", **bearer).status_code == 200
    assert not program.cookies


def test_logout_deletes_the_session(site: Site) -> None:
    browser, _ = site.comes_back(groups=["ml"])
    assert browser.asks("GET", LOGOUT).status_code == 302
    assert not browser.cookies
    assert browser.asks("GET", READ).status_code == 401


def test_logout_ends_the_session_at_the_issuer_too_if_it_has_an_address_for_that(tmp_path: Path) -> None:
    with guarded(tmp_path, end_session_endpoint="https://login.example.com/logout") as site:
        browser, _ = site.comes_back(groups=["ml"])
        location = urlsplit(browser.asks("GET", LOGOUT).headers["location"])
        assert f"{location.scheme}://{location.netloc}{location.path}" == "https://login.example.com/logout"
        assert dict(parse_qsl(location.query))["post_logout_redirect_uri"] == f"https://{HOST}/"
        assert not browser.cookies


@pytest.mark.parametrize("absent", ["token_endpoint", "keys"])
def test_while_the_issuer_is_away_every_login_fails(tmp_path: Path, absent: str) -> None:
    away = f"https://localhost:{free_port()}/"
    tokens = Callers(issuer="https://login.example.com/", audience=CLIENT, keys=away)
    with guarded(tmp_path, **({"tokens": tokens} if absent == "keys" else {absent: away})) as site:
        assert not {200, 403} & set(site.statuses(groups=["leads"]))
