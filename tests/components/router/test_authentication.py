"""Tokens of callers: a real Envoy with the program's configuration, in front of a real model server."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from bench.router_processes import Running, free_port, router, wait_for
from components.router.authentication import Callers
from components.router.configuration import Address, Challenger, Router, Shadow
from tests.issuer import Issuer
from tests.model_server.zoo import ZOO
from tests.served import served

pytestmark = pytest.mark.long
ISSUER, AUDIENCE = "https://login.example.com/", "churn"
ROW = {"dataframe_records": [{"a": 0.5, "b": 1, "c": 0.5, "d": 1}]}


@dataclass(frozen=True)
class Guarded:
    """Model server whose routers ask for tokens."""

    settings: Router
    issuer: Issuer

    def token(self, subject: str = "shop", **claims: Any) -> str:
        given: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, **claims}
        return self.issuer.token(subject, **given)

    def with_callers(self, **changes: Any) -> Router:
        callers = Callers(issuer=ISSUER, audience=AUDIENCE, keys=self.issuer.key_set)
        return replace(self.settings, callers=replace(callers, **changes))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("zoo") / "forest"
    with served(ZOO["a forest"](folder), "risk", 3) as url:
        port = urlsplit(url).port or 0
        address = Address(host="127.0.0.1", port=port, probe_port=port)
        yield Guarded(Router(champion=address, request_seconds=35, max_body_bytes=1 << 20), Issuer())


def ask(running: Running, bearer: str | None, path: str = "/invocations") -> httpx.Response:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    url = f"http://127.0.0.1:{running.port}{path}"
    if path == "/invocations":
        return httpx.post(url, json=ROW, headers=headers, timeout=20)
    return httpx.get(url, headers=headers, timeout=20)


def test_a_request_is_answered_only_with_a_token_of_the_issuer_for_the_audience(guarded: Guarded) -> None:
    unsigned = guarded.token(header={"alg": "none", "kid": "k"}).rpartition(".")[0] + "."
    refused = {
        "Jwt is missing": None,
        "Jwt is not in the form": "not-a-token",
        "Jwt is expired": guarded.token(exp=time.time() - 60),
        "Jwt verification fails": Issuer().token("shop", iss=ISSUER, aud=AUDIENCE),
        "Audiences in Jwt are not allowed": guarded.token(aud="another"),
        "Jwt issuer is not configured": guarded.token(iss="https://login.example.org/"),
        "Header.Payload.Signature": unsigned,
    }
    with router(guarded.with_callers()) as running:
        answer = ask(running, guarded.token())
        assert (answer.status_code, len(answer.json()["predictions"])) == (200, 1)
        for why, bearer in refused.items():
            answer = ask(running, bearer)
            assert answer.status_code == (403 if "Audiences" in why else 401), why
            said = answer.json()
            assert said["error_code"] == ("PERMISSION_DENIED" if "Audiences" in why else "UNAUTHENTICATED")
            assert why in said["message"]
            assert f"a token of {ISSUER} for the audience {AUDIENCE}" in said["message"]
        no_expiry = ask(running, guarded.token(exp=None))
        assert no_expiry.status_code == 401
        assert httpx.get(f"http://127.0.0.1:{running.port}/schema?access_token={guarded.token()}").status_code == 401


def test_health_checks_need_no_token_and_every_other_path_does(guarded: Guarded) -> None:
    with router(guarded.with_callers()) as running:
        assert {path: ask(running, None, path).status_code for path in ("/ping", "/health")} == {
            "/ping": 200,
            "/health": 200,
        }
        closed = ("/", "/schema", "/docs", "/openapi.json", "/version", "/metrics", "/ping/", "/pingx", "/no-such-page")
        assert {ask(running, None, path).status_code for path in closed} == {401}
        assert ask(running, guarded.token(), "/schema").status_code == 200
        url = f"http://127.0.0.1:{running.port}/ping/../invocations"
        assert httpx.post(httpx.URL(url, raw_path=b"/ping/../invocations"), json=ROW).status_code == 401
        assert running.counted("envoy_http_jwt_authn_denied") > 0


def test_a_caller_above_its_limit_is_asked_to_retry_later_and_another_is_answered(guarded: Guarded) -> None:
    with router(guarded.with_callers(requests_per_minute=20)) as running:
        statuses = [ask(running, guarded.token("shop")).status_code for _ in range(20)]
        assert statuses == [200] * 20
        refused = ask(running, guarded.token("shop"))
        assert refused.status_code == 429
        assert (refused.json()["error_code"], refused.headers["retry-after"]) == ("RESOURCE_EXHAUSTED", "3")
        assert "20 requests per minute" in refused.json()["message"]
        assert running.counted("envoy_http_local_rate_limit_rate_limited") == 1
        assert ask(running, guarded.token("till")).status_code == 200
        assert {ask(running, None, "/ping").status_code for _ in range(30)} == {200}
        without = [ask(running, guarded.token(sub=None), "/schema").status_code for _ in range(21)]
        assert without == [200] * 20 + [429], "tokens without a subject are one caller"


def test_callers_of_a_challenger_on_a_path_of_a_shared_host_need_a_token_and_have_one_limit(guarded: Guarded) -> None:
    settings = guarded.with_callers(requests_per_minute=20)
    challenger = Challenger(address=settings.champion, percent=50, key="X-Customer-Id", experiment="trees")
    shadow = Shadow(address=settings.champion, percent=100)
    with router(replace(settings, challenger=challenger, shadow=shadow, path="/churn")) as running:
        url = f"http://127.0.0.1:{running.port}"

        def sent(path: str, customer: int, subject: str) -> int:
            headers = {"Authorization": f"Bearer {guarded.token(subject)}"} if subject else {}
            return httpx.post(url + path, json=ROW, headers={**headers, "X-Customer-Id": f"{customer}"}).status_code

        assert {sent(path, 1, "") for path in ("/invocations", "/churn/invocations", "/churn/ping")} == {401}
        assert [sent("/invocations", customer, "shop") for customer in range(10)] == [200] * 10
        # The server of this test does not remove the path.
        assert [sent("/churn/invocations", customer, "shop") for customer in range(11)] == [404] * 10 + [429]
        assert sent("/invocations", 1, "till") == 200
        counters = [line for line in running.metrics() if line.startswith("envoy_vhost_route_upstream_rq_completed{")]
        assigned = sum(int(line.rpartition(" ")[2]) for line in counters if 'envoy_route="assigned"' in line)
        assert assigned == 21, "requests that are refused reach no version"


def test_without_keys_every_request_is_refused_until_the_issuer_responds_and_keys_outlive_its_absence(
    guarded: Guarded, tmp_path: Path
) -> None:
    port = free_port()
    with guarded.issuer.serving(tmp_path) as (_, certificate):
        pass
    settings = guarded.with_callers(keys=f"https://localhost:{port}/keys", authorities=str(certificate))
    with router(settings) as running:
        answer = ask(running, guarded.token())
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert f"The keys of {ISSUER} cannot be read" in answer.json()["message"]
        assert ask(running, None, "/ping").status_code == 200
        with guarded.issuer.serving(tmp_path, port):
            wait_for("the keys", lambda: ask(running, guarded.token()).status_code == 200)
        assert ask(running, guarded.token()).status_code == 200
        assert ask(running, None).status_code == 401


def test_keys_of_a_server_with_another_certificate_are_not_used(guarded: Guarded, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with (
        guarded.issuer.serving(tmp_path) as (url, _),
        Issuer().serving(tmp_path / "other") as (_, other),
        router(guarded.with_callers(keys=url, authorities=str(other))) as running,
    ):
        assert ask(running, guarded.token()).status_code == 503
