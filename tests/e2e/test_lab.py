"""The cluster survives what happens to a machine, and leaves nothing on it."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import paths
from lab.cluster import layout, node, process
from lab.cluster.component import load

from .conftest import Platform, wait_for

SPACE = "lab-test"
POD = {
    "metadata": {"labels": {"app": "still"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "still", "image": layout.PAUSE_IMAGE}],
    },
}
NAMES = [found.name for found in load()]


class Lab(Platform):
    """The cluster, without the platform."""

    def bring_up(self) -> str:
        return self.lab("up", "--cluster-only").stdout

    def pod(self) -> dict[str, object] | None:
        """Identity and restarts of the test's one container, once its pod is Ready."""
        for pod in self.items("pods", "-n", SPACE, "-l", "app=still"):
            status = pod["status"].get("containerStatuses", [{}])[0]
            if status.get("ready") and "deletionTimestamp" not in pod["metadata"]:
                return {"id": status["containerID"], "restarts": status["restartCount"]}
        return None


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    made.bring_up()
    made.lab("kubectl", "delete", "namespace", SPACE, "--ignore-not-found")
    made.lab("kubectl", "create", "namespace", SPACE)
    made.lab("kubectl", "create", "deployment", "still", "-n", SPACE, f"--image={layout.PAUSE_IMAGE}")
    wait_for("the pod", made.pod, seconds=60)
    yield made
    made.bring_up()
    made.lab("kubectl", "delete", "namespace", SPACE)


def kill(name: str) -> None:
    found = process.running(name)
    assert found, f"{name} does not run"
    os.kill(found.pid, signal.SIGKILL)
    wait_for(f"the end of {name}", lambda: not found.alive, seconds=10)


def test_up_on_a_running_lab_changes_nothing(lab: Lab) -> None:
    before, began = {name: process.running(name) for name in NAMES}, time.monotonic()
    said = lab.bring_up()
    print(f"lab up on a running lab took {time.monotonic() - began:.2f} s")
    assert "was running" in said
    assert {name: process.running(name) for name in NAMES} == before


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_is_started_again_and_no_container_notices(lab: Lab, name: str) -> None:
    before = wait_for("the pod", lab.pod, seconds=60)
    kill(name)
    lab.bring_up()
    assert all(map(process.ready, load()))
    assert wait_for("the pod", lab.pod, seconds=60) == before


def test_when_everything_was_killed_at_once_the_pod_comes_back(lab: Lab) -> None:
    for name in NAMES:
        kill(name)
    for pid in node.inhabitants():
        os.kill(pid, signal.SIGKILL)
    lab.bring_up()
    wait_for("the pod", lab.pod, seconds=90)


def test_down_leaves_nothing_behind_and_up_brings_the_objects_back(lab: Lab) -> None:
    pids = node.inhabitants() | {found.pid for name in NAMES if (found := process.running(name))}
    lab.lab("down")
    assert node.leftovers() == []
    assert not [pid for pid in pids if process.start_time(pid)]
    assert layout.NAME not in seen("ip", "link") + seen("ip", "route")
    assert str(paths.cluster()) not in Path("/proc/self/mountinfo").read_text()
    assert not [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name == layout.NAME]
    assert not [folder for folder in ("/var/lib/cni", "/run/containerd") if Path(folder).exists()]
    lab.bring_up()
    wait_for("the pod", lab.pod, seconds=90)


def test_the_hosts_sysctls_and_firewall_are_as_before(lab: Lab) -> None:
    watched = (
        r"^(vm\.(overcommit_memory|panic_on_oom)|kernel\.(panic|panic_on_oops)|net\.ipv4\.ip_forward|net\.netfilter)"
    )

    def host() -> list[str]:
        rules = [line for line in seen("iptables-save").splitlines() if line.startswith("-A")]
        return rules + [line for line in seen("sysctl", "-a").splitlines() if re.match(watched, line)]

    with_lab = host()
    lab.lab("down")
    assert host() == with_lab
    lab.bring_up()


def test_a_client_without_a_certificate_gets_no_answer(lab: Lab) -> None:
    address = f"https://{layout.HOST}:{layout.API_PORT}"
    answer = lab.lab("kubectl", "--kubeconfig=/dev/null", f"--server={address}", "--insecure-skip-tls-verify",
                     "--username=x", "--password=x", "get", "--raw", "/version", check=False)  # fmt: skip
    assert "Unauthorized" in answer.stderr
    etcd = seen("curl", "-sk", f"https://{layout.HOST}:{layout.ETCD_PORT}/health", check=False)
    assert "health" not in etcd
    assert "Unauthorized" in seen("curl", "-sk", f"https://{layout.NODE}:10250/pods")


def test_a_privileged_pod_is_refused_where_a_namespace_says_nothing(lab: Lab) -> None:
    answer = lab.lab("kubectl", "run", "root", f"--image={layout.PAUSE_IMAGE}", "--privileged", check=False)
    assert 'violates PodSecurity "baseline' in answer.stderr


def test_metrics_arrive(lab: Lab) -> None:
    def measured() -> bool:
        return "still" in lab.lab("kubectl", "top", "pod", "-n", SPACE, check=False).stdout

    wait_for("metrics of the pod", measured, seconds=90)


def seen(*command: str, check: bool = True) -> str:
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout
