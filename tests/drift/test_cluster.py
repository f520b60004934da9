"""Requests to the API server, over HTTP: what is created, and what a pod says when it is refused."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from drift.cluster import FOR_VERSION, Cluster
from training.ending import BadInputError, FailedError

POD: Mapping[str, Any] = {"spec": {"containers": [{"name": "train", "image": "lab.local/training:1", "env": []}]}}
TEMPLATE: Mapping[str, Any] = {
    "metadata": {"name": "churn", "namespace": "ml-training", "uid": "u-1"},
    "spec": {
        "jobTemplate": {
            "metadata": {"labels": {"app.kubernetes.io/instance": "churn", "app.kubernetes.io/managed-by": "cronjob"}},
            "spec": {"backoffLimit": 1, "template": POD},
        }
    },
}
PATH = "/apis/batch/v1/namespaces/ml-training"


@contextmanager
def answering(objects: Mapping[str, tuple[int, object]]) -> Generator[tuple[str, list[Any]]]:
    """Serve objects by method and path; yield the URL, and the list of the bodies that were posted."""
    posted: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if self.headers["Authorization"] != "Bearer secret":
                status, body = 401, {"message": "Unauthorized"}
            else:
                status, body = objects.get(f"{self.command} {self.path.removeprefix(PATH)}", (404, {}))
            if self.command == "POST":
                posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object, **__: object) -> None:
            pass

    for method in ("GET", "POST"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("secret\n")
    return tmp_path


def test_a_job_has_exactly_the_pod_of_the_template_and_belongs_to_its_cron_job(account: Path) -> None:
    with answering({"GET /cronjobs/churn": (200, TEMPLATE), "POST /jobs": (201, {})}) as (url, posted):
        Cluster(url=url, account=account).train("churn", "churn-drift-1", "churn version 1")
    (job,) = posted
    assert job["spec"] == TEMPLATE["spec"]["jobTemplate"]["spec"]
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("churn-drift-1", "ml-training")
    assert job["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "drift"
    assert job["metadata"]["annotations"][FOR_VERSION] == "churn version 1"
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("CronJob", "churn", "u-1")


def test_a_job_that_exists_already_is_kept(account: Path) -> None:
    with answering({"GET /cronjobs/churn": (200, TEMPLATE), "POST /jobs": (409, {"message": "exists"})}) as (url, _):
        Cluster(url=url, account=account).train("churn", "churn-drift-1", "churn version 1")


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], "active"),
        ([{"type": "Complete", "status": "True"}], "succeeded"),
        ([{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}], "failed"),
        ([{"type": "Failed", "status": "False"}], "active"),
    ],
)
def test_the_state_of_a_job_is_that_of_its_conditions(
    account: Path, conditions: list[Mapping[str, str]], state: str
) -> None:
    with answering({"GET /jobs/one": (200, {"status": {"conditions": conditions}})}) as (url, _):
        assert Cluster(url=url, account=account).state("one") == state
        assert Cluster(url=url, account=account).state("another") is None


def test_a_training_job_that_the_stack_does_not_declare_is_bad_input(account: Path) -> None:
    with answering({}) as (url, _), pytest.raises(BadInputError, match="the cluster has no CronJob churn"):
        Cluster(url=url, account=account).train("churn", "churn-drift-1", "churn version 1")


def test_the_reason_of_the_api_server_is_reported(account: Path) -> None:
    refusal = {"message": "jobs.batch is forbidden: ValidatingAdmissionPolicy denied request"}
    objects = {"GET /cronjobs/churn": (200, TEMPLATE), "POST /jobs": (403, refusal)}
    with answering(objects) as (url, _), pytest.raises(FailedError, match=r"POST jobs: jobs.batch is forbidden"):
        Cluster(url=url, account=account).train("churn", "churn-drift-1", "churn version 1")


def test_an_api_server_that_does_not_answer_is_tried_again_by_the_next_run(account: Path) -> None:
    with pytest.raises(FailedError, match="the next run tries again"):
        Cluster(url="http://127.0.0.1:1", account=account).state("one")


def test_without_a_token_the_message_says_where_the_program_runs(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="run this program in the pod of an endpoint's drift job"):
        Cluster(url="http://127.0.0.1:1", account=tmp_path).state("one")
