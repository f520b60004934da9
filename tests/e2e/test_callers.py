"""An endpoint that asks its callers for tokens, from the first to the last of them, under load."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from contract import names
from tests.e2e.conftest import ENDPOINT, Platform, wait_for
from tests.e2e.load import load
from tests.e2e.test_network_policies import PROBE, start_idle
from tests.e2e.test_platform import CUSTOMERS
from tests.issuer import Issuer

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
ISSUER, STRANGER = "https://login.example.com/", "callers-test"
ROWS = {"dataframe_records": CUSTOMERS}


@pytest.fixture
def stranger(platform: Platform) -> Iterator[str]:
    """Pod in a namespace without policies."""
    platform.lab("up", timeout=3000)
    [job] = platform.items("jobs", "-n", names.TRAINING, "-l", "app.kubernetes.io/instance=churn")[:1]
    platform.kubectl("create", "namespace", STRANGER)
    start_idle(platform, STRANGER, STRANGER, {"app": STRANGER}, job["spec"]["template"]["spec"])
    yield STRANGER
    platform.kubectl("delete", "namespace", STRANGER, "--wait=false")


def opened(platform: Platform, *targets: str) -> list[bool]:
    """Return whether the stranger can connect to each of the addresses."""
    said = platform.kubectl("exec", "-n", STRANGER, STRANGER, "--", "python3", "-c", PROBE, *targets)
    return json.loads(said)


def statuses(url: str, token: str) -> tuple[int, int]:
    """Return the statuses of requests with the token and without one."""
    with_token = httpx.post(url, json=ROWS, headers={"Authorization": f"Bearer {token}"}, timeout=20)
    return with_token.status_code, httpx.post(url, json=ROWS, timeout=20).status_code


def test_tokens_are_asked_for_and_no_longer_asked_for_without_a_lost_request(platform: Platform, stranger: str) -> None:
    assert stranger
    issuer = Issuer()
    token = issuer.token("shop", iss=ISSUER, aud="churn", exp=time.time() + 3600)
    url = f"{platform.endpoint_url()}/invocations"
    with load(url, ROWS, per_second=30, header=f"Authorization: Bearer {token}") as answers:
        wait_for("an answer", lambda: answers.latest, seconds=20)
        with platform.config_restored():
            auth = f"endpoints.{ENDPOINT}.auth"
            platform.set({f"{auth}.issuer": ISSUER, f"{auth}.audience": "churn", f"{auth}.jwks": issuer.key_set})
            platform.up()
            wait_for("the routers", lambda: statuses(url, token) == (200, 401), seconds=30)
            guarded = platform.items("pods", "-n", names.SERVING, "-l", f"{names.GUARDED}=router")
            address = guarded[0]["status"]["podIP"]
            entry = f"{ENDPOINT}.{names.SERVING}:80"
            assert opened(platform, entry, f"{address}:8080", f"{address}:8081") == [True, False, True]
        platform.up()
        wait_for("an endpoint without tokens", lambda: statuses(url, token) == (200, 200), seconds=60)
    print(f"{len(answers.all)} answers, lost: {answers.failures}")
    assert answers.failures == []
