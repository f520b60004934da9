"""An endpoint whose model waits and takes no CPU, and which scales by the requests that it has not answered yet."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e import metrics_adapter
from tests.e2e.conftest import Platform, answering, pods, wait_for
from tests.e2e.models import register

pytestmark = pytest.mark.e2e

WAITING, CALLERS, TARGET = "waiting", 8, 3
SOURCE = """
import time

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        time.sleep(model_input.seconds.max())
        return [0] * len(model_input)
"""


@pytest.fixture
def waiting(platform: Platform, tmp_path: Path) -> Iterator[Platform]:
    """The platform with a metrics adapter, and a pod that scales by requests in flight."""
    platform.lab("up", timeout=3000)
    version = register(WAITING, SOURCE, {"seconds": [0.0]})
    manifest = tmp_path / "adapter.json"
    with metrics_adapter.serving() as port, platform.config_restored():
        items = metrics_adapter.objects(port)
        manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        platform.kubectl("apply", "-f", str(manifest))
        try:
            scaling = {"cpu_percent": 1000, "in_flight": TARGET, "scale_down_stabilization_seconds": 15}
            platform.set(
                {
                    f"endpoints.{WAITING}.version": version,
                    f"endpoints.{WAITING}.replicas.min": 1,
                    f"endpoints.{WAITING}.replicas.max": 3,
                    **{f"endpoints.{WAITING}.autoscaling.{key}": value for key, value in scaling.items()},
                }
            )
            platform.up()
            wait_for("its pod", lambda: len(answering(platform, WAITING)) == 1, seconds=120)
            yield platform
        finally:
            platform.kubectl("delete", "-f", str(manifest))
    platform.up()


@pytest.mark.nightly
def test_requests_that_wait_add_pods_and_their_end_takes_them_away_and_none_is_lost(waiting: Platform) -> None:
    url, over = f"{waiting.endpoint_url(WAITING)}/invocations", threading.Event()
    rows = {"dataframe_records": [{"seconds": 2.0}]}

    def call() -> set[int]:
        codes = set[int]()
        while not over.is_set():
            codes.add(httpx.post(url, json=rows, timeout=60).status_code)
        return codes

    began = time.monotonic()
    with ThreadPoolExecutor(CALLERS) as callers:
        calls = [callers.submit(call) for _ in range(CALLERS)]
        try:
            wait_for("a third pod", lambda: len(answering(waiting, WAITING)) == 3, seconds=180)
        finally:
            over.set()
    assert set[int]().union(*(one.result() for one in calls)) == {200}
    out = time.monotonic()
    wait_for("a single pod again", lambda: len(pods(waiting, "ml-serving", WAITING)) == 1, seconds=300)
    print(f"out after {out - began:.0f} s, in after {time.monotonic() - out:.0f} s")
