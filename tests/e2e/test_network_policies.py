"""Which connections pods of the platform can open, from the pods themselves, by way of the cluster's own names."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from contract import names
from lab.cluster import layout, process

from .conftest import ENDPOINT, Platform, wait_for

# Connects to each argument at once; prints which connections opened. Python 3.11 is in every image of the platform.
PROBE = """
import concurrent.futures, json, socket, sys
def opens(target):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 3).close()
    except OSError:
        return False
    return True
with concurrent.futures.ThreadPoolExecutor(len(sys.argv)) as pool:
    print(json.dumps(list(pool.map(opens, sys.argv[1:]))))
"""
TARGETS = {
    "mlflow": f"mlflow.{names.PLATFORM}:5000",
    "store": f"s3.{names.PLATFORM}:7070",
    "database": f"postgres.{names.PLATFORM}:5432",
    "endpoint": f"{ENDPOINT}.{names.SERVING}:80",
    "api-server": "kubernetes.default:443",
}
STRANGER = "network-policy-test"
VALIDATION = "network-policy-test-validation"
# From whom: which of the targets and of "host", a port outside the cluster. All others are refused.
FLOWS = {
    "serving": {"store"},
    "training": {"mlflow", "store"},
    "validation": {"mlflow", "store", "endpoint"},
    "mlflow": {"database", "store"},
    "database": set[str](),
    "stranger": {"endpoint", "api-server", "host"},
}


@pytest.fixture(scope="module")
def host_port() -> Iterator[int]:
    """A port of the host on which anybody may connect; the kernel accepts."""
    with closing(socket.create_server((layout.HOST, 0), backlog=100)) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def pods(platform: Platform) -> Iterator[dict[str, tuple[str, ...]]]:
    """Where each identity runs: arguments of `kubectl exec`. Training has no pod that stays, so one is made for it."""
    [job] = platform.items("jobs", "-n", names.TRAINING, "-l", "app.kubernetes.io/instance=churn")[:1]
    spec = job["spec"]["template"]["spec"]
    labels = {key: value for key, value in job["spec"]["template"]["metadata"]["labels"].items() if "job" not in key}
    platform.kubectl("create", "namespace", STRANGER)
    made = (
        (names.TRAINING, STRANGER, labels),
        (names.TRAINING, VALIDATION, names.VALIDATIONS),
        (STRANGER, STRANGER, {"app": STRANGER}),
    )
    for namespace, pod, own in made:
        start_idle(platform, namespace, pod, own, spec)
    yield {
        "serving": ("-n", names.SERVING, f"deployment/{ENDPOINT}"),
        "training": ("-n", names.TRAINING, STRANGER),
        "validation": ("-n", names.TRAINING, VALIDATION),
        "mlflow": ("-n", names.PLATFORM, "deployment/mlflow"),
        "database": ("-n", names.PLATFORM, "statefulset/postgres"),
        "stranger": ("-n", STRANGER, STRANGER),
    }
    both = (STRANGER, VALIDATION)
    platform.kubectl("delete", "pod", *both, "-n", names.TRAINING, "--grace-period=1", "--wait=false")
    platform.kubectl("delete", "namespace", STRANGER, "--wait=false")


def start_idle(platform: Platform, namespace: str, pod: str, labels: dict[str, str], job: dict[str, Any]) -> None:
    """A pod that is held to the same as a training run's, and does nothing."""
    container = {
        "name": "idle",
        "image": job["containers"][0]["image"],
        "command": ["sleep", "600"],
        "securityContext": job["containers"][0].get("securityContext", {}),
    }
    spec = {"containers": [container], "securityContext": job.get("securityContext", {}), "nodeName": layout.CPU_NODE}
    overrides = {"metadata": {"labels": labels}, "spec": {**spec, "automountServiceAccountToken": False}}
    image = container["image"]
    platform.kubectl("run", pod, "-n", namespace, f"--image={image}", f"--overrides={json.dumps(overrides)}")
    platform.kubectl("wait", "pod", pod, "-n", namespace, "--for=condition=Ready", "--timeout=60s")


def opened(platform: Platform, where: tuple[str, ...], host_port: int) -> set[str]:
    targets = {**TARGETS, "host": f"{layout.HOST}:{host_port}"}
    told = platform.kubectl("exec", *where, "--", "python3", "-c", PROBE, *targets.values())
    return {name for name, opens in zip(targets, json.loads(told), strict=True) if opens}


@pytest.mark.parametrize("identity", FLOWS)
def test_a_pod_opens_what_its_policies_allow_and_nothing_else(
    platform: Platform, pods: dict[str, tuple[str, ...]], host_port: int, identity: str
) -> None:
    assert opened(platform, pods[identity], host_port) == FLOWS[identity]


def test_policies_hold_again_after_the_process_that_enforces_them_was_killed(
    platform: Platform, pods: dict[str, tuple[str, ...]], host_port: int
) -> None:
    enforcing = process.running("kube-network-policies")
    assert enforcing
    os.kill(enforcing.pid, signal.SIGKILL)
    wait_for("its end", lambda: not enforcing.alive, seconds=10)
    assert opened(platform, pods["serving"], host_port) > FLOWS["serving"], "without it, everything passes"
    platform.lab("up", "--cluster-only")
    assert opened(platform, pods["serving"], host_port) == FLOWS["serving"]
