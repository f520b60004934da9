"""MLflow asks who you are: what each identity may do, from pods and from this machine, and a whole release."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from components import mlflow_gateway
from contract import names
from lab.cluster import forward
from lab.engine import engine_environment
from runs.cluster import Cluster
from tests.components.test_mlflow_gateway import documented, routes

from .conftest import ENDPOINT, LAB, Platform, fresh_shell, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
MLOPS = LAB.with_name("mlops")
POD = "identity-test"
# Asks at localhost, as a team's script does; prints the status of each request, 0 for a route that MLflow leaves open.
ASK = """
import json, sys, urllib.error, urllib.request
def ask(method, path):
    body = None if method == "GET" else b"{}"
    request = urllib.request.Request(sys.argv[1] + path, body, {"Content-Type": "application/json"}, method=method)
    try:
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except TimeoutError:
        return 0
print(json.dumps([ask(*each) for each in json.loads(sys.argv[2])]))
"""
API = "/api/2.0/mlflow/"
ROUTES = routes()


@pytest.fixture(scope="module")
def authenticated(platform: Platform) -> Iterator[Platform]:
    """The platform with `mlops:tracking.authenticated`, which is taken back afterwards."""
    with platform.config_restored():
        platform.set({"tracking.authenticated": "true"})
        platform.up()
        yield platform
    platform.up()


def may(identity: str) -> set[tuple[str, str]]:
    """Return the requests that the documentation allows."""
    return {route for route in ROUTES if documented(identity, *route)}


def allowed(statuses: list[int]) -> set[tuple[str, str]]:
    """Return the requests that reached MLflow, which answers 400 to what lacks its fields."""
    return {route for route, status in zip(ROUTES, statuses, strict=True) if status not in {401, 403}}


def token(
    platform: Platform, account: str, namespace: str = names.PLATFORM, audience: str = names.TRACKING_AUDIENCE
) -> str:
    return platform.kubectl("create", "token", account, "-n", namespace, "--audience", audience).strip()


def asked(bearer: str | None) -> list[int]:
    headers = {"Host": names.TRACKING_HOST} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    with httpx.Client(headers=headers, timeout=5) as http:
        return [status(http, *route) for route in ROUTES]


def status(http: httpx.Client, method: str, path: str) -> int:
    """Return the status of a request; 0 for a route that MLflow leaves open."""
    url = httpx.URL(forward.urls()["mlflow"], raw_path=path.encode())
    try:
        return http.request(method, url, json=None if method == "GET" else {}).status_code
    except httpx.ReadTimeout:
        return 0


def start(platform: Platform, account: str, job: dict[str, Any]) -> str:
    """Start a pod with the proxy of a training run, under a service account, and return its name."""
    spec: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    idle = {**spec["containers"][0], "command": ["sleep", "600"], "args": None}
    pod = {
        "metadata": {"name": f"{POD}-{account}", "labels": {"app.kubernetes.io/component": "training"}},
        "spec": {**spec, "serviceAccountName": account, "containers": [idle]},
    }
    words = ("run", f"{POD}-{account}", "-n", names.TRAINING, f"--image={idle['image']}")
    platform.kubectl(*words, f"--overrides={json.dumps(pod)}")
    platform.kubectl("wait", "pod", f"{POD}-{account}", "-n", names.TRAINING, "--for=condition=Ready", "--timeout=90s")
    return f"{POD}-{account}"


@pytest.mark.parametrize("account", ["training", "validation"])
def test_a_pod_is_known_by_its_service_account_without_a_change_of_its_script(
    authenticated: Platform, account: str
) -> None:
    job = authenticated.get("cronjob", "churn", "-n", names.TRAINING)
    pod = start(authenticated, account, job)
    try:
        uri = "http://localhost:5000"
        words = ("exec", pod, "-n", names.TRAINING, "-c", "train", "--", "python3", "-c", ASK)
        statuses = json.loads(authenticated.kubectl(*words, uri, json.dumps(ROUTES)))
        around = json.loads(authenticated.kubectl(*words, f"http://{names.TRACKING_HOST}", json.dumps(ROUTES)))
    finally:
        authenticated.kubectl("delete", "pod", pod, "-n", names.TRAINING, "--grace-period=1", "--wait=false")
    assert allowed(statuses) == may(account)
    assert allowed(around) == may("nobody"), "without the proxy, the pod has no token"


@pytest.mark.parametrize("identity", ["people", "promoter"])
def test_people_ask_with_a_token_that_kubectl_gets(authenticated: Platform, identity: str) -> None:
    account = mlflow_gateway.IDENTITIES[identity].rpartition(":")[2]
    assert allowed(asked(token(authenticated, account))) == may(identity)


def test_the_accounts_of_a_server_and_of_another_namespace_may_ask_nothing(authenticated: Platform) -> None:
    server = authenticated.get("deployment", ENDPOINT, "-n", names.SERVING)["spec"]["template"]["spec"]
    for account, namespace in ((server["serviceAccountName"], names.SERVING), ("default", "default")):
        assert allowed(asked(token(authenticated, account, namespace))) == may("stranger")


def test_no_other_token_is_accepted(authenticated: Platform) -> None:
    nobody = may("nobody")
    assert allowed(asked(None)) == nobody
    assert allowed(asked(token(authenticated, names.PEOPLE, audience="another"))) == nobody
    header, _, signature = token(authenticated, names.PEOPLE).split(".")
    claims = {"aud": ["mlflow"], "sub": mlflow_gateway.IDENTITIES["promoter"], "exp": time.time() + 600}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert allowed(asked(f"{header}.{forged}.{signature}")) == nobody


def test_the_proxy_of_mlflow_counts_requests(authenticated: Platform) -> None:
    asked(None)
    pod = authenticated.items("pods", "-n", names.PLATFORM, "-l", "app.kubernetes.io/name=mlflow")[0]
    cluster = Cluster(environment=engine_environment())
    port = mlflow_gateway.METRICS_PORT
    with cluster.forwarded(names.PLATFORM, "mlflow", port, pod=pod["metadata"]["name"]) as address:
        assert "envoy_http_downstream_rq_xx{" in httpx.get(f"{address}/metrics").text
        assert httpx.post(f"{address}/quitquitquit").status_code == 404


def test_a_version_is_trained_validated_and_released(authenticated: Platform) -> None:
    jobs = authenticated.items("jobs", "-n", names.TRAINING, "-l", "app.kubernetes.io/instance=churn")
    newest = max(jobs, key=lambda job: job["metadata"]["creationTimestamp"])["metadata"]["name"]
    words = ("wait", "job", newest, "-n", names.TRAINING, "--for=condition=complete", "--timeout=300s")
    authenticated.kubectl(*words)
    bearer = {"Authorization": f"Bearer {token(authenticated, names.PROMOTER)}", "Host": names.TRACKING_HOST}
    uri = forward.urls()["mlflow"]
    found = httpx.get(f"{uri}{API}model-versions/search", headers=bearer, params={"filter": f"name='{ENDPOINT}'"})
    number = max(int(one["version"]) for one in found.json()["model_versions"])
    words = [MLOPS, "validate", ENDPOINT, str(number)]
    done = subprocess.run(words, env=fresh_shell(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    authenticated.set({f"endpoints.{ENDPOINT}.version": number})
    assert f"@champion is version {number}" in authenticated.up().stdout
    wait_for("the champion", lambda: champion(uri, bearer) == number, seconds=10)


def champion(uri: str, headers: Mapping[str, str]) -> int:
    answer = httpx.get(f"{uri}{API}registered-models/get", headers=headers, params={"name": ENDPOINT})
    aliases = answer.json()["registered_model"].get("aliases", [])
    return next((int(one["version"]) for one in aliases if one["alias"] == "champion"), 0)
