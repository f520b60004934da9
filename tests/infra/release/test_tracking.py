"""Port that kubectl forwards, with scripts in the place of kubectl."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.foundation import ClusterAccess
from contract.names import PEOPLE, PROMOTER, TRACKING_HOST
from infra.release import tracking
from infra.release.tracking import Route, UnreachableError
from model_preview.server import Server
from tests.projects import CHECKOUT


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the script that is kubectl in this test."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "kubectl"


def opened(token: str = "", *, account: str = PEOPLE, is_authenticated: bool = False) -> Server:
    route = Route(uri="", token=token, access=ClusterAccess(), is_authenticated=is_authenticated)

    async def server() -> Server:
        async with route.opened(account) as found:
            return found

    return asyncio.run(server())


def ends(pid: int) -> bool:
    """Return whether the process ends within 10 seconds."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    return bool(select.select([process], [], [], 10)[0])


def test_a_forwarded_port_is_reached_with_the_name_that_mlflow_knows(kubectl: Path) -> None:
    kubectl.write_text("#!/bin/sh\necho 'Forwarding from 127.0.0.1:1234 -> 5000'\nexec /bin/sleep 600\n")
    kubectl.chmod(0o755)
    assert opened("abc") == Server(uri="http://127.0.0.1:1234", token="abc", host=TRACKING_HOST)


def test_if_mlflow_asks_who_you_are_kubectl_gets_a_token_of_the_account(kubectl: Path) -> None:
    kubectl.write_text(
        "#!/bin/sh\ncase \"$*\" in *'create token mlflow-promoter --audience mlflow'*) echo secret; exit;; esac\n"
        "echo 'Forwarding from 127.0.0.1:1234 -> 5000'\nexec /bin/sleep 600\n"
    )
    kubectl.chmod(0o755)
    assert opened(account=PROMOTER, is_authenticated=True).token == "secret"
    assert opened("mine", account=PROMOTER, is_authenticated=True).token == "mine"


def test_who_may_not_get_a_token_reads_which_one(kubectl: Path) -> None:
    kubectl.write_text("#!/bin/sh\necho 'error: serviceaccounts is forbidden' >&2\nexit 1\n")
    kubectl.chmod(0o755)
    said = "kubectl could not get a token of mlflow-people for MLflow: error: serviceaccounts is forbidden"
    with pytest.raises(UnreachableError, match=said):
        opened(is_authenticated=True)


def test_kubectl_ends_with_its_credential_plugin_that_hangs(
    kubectl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "SECONDS", 0.5)
    pid = tmp_path / "pid"
    kubectl.write_text(f"#!/bin/sh\n/bin/sleep 600 &\necho $! > {pid}\nwait\n")
    kubectl.chmod(0o755)
    with pytest.raises(UnreachableError, match=r"it did not do so within 0.5 s"):
        opened()
    assert ends(int(pid.read_text()))


def test_kubectl_ends_with_a_program_that_is_killed(kubectl: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    kubectl.write_text(
        f"#!/bin/sh\necho $$ > {pid}\necho 'Forwarding from 127.0.0.1:1234 -> 5000'\nexec /bin/sleep 600\n"
    )
    kubectl.chmod(0o755)
    program = (
        "import asyncio, os, signal\n"
        "from components.foundation import ClusterAccess\n"
        "from infra.release.tracking import Route\n"
        "async def main():\n"
        "    async with Route(uri='', token='', access=ClusterAccess()).opened():\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert ends(int(pid.read_text()))


def test_the_reason_of_kubectl_is_given_at_once(kubectl: Path) -> None:
    kubectl.write_text("#!/bin/sh\necho 'error: the pod is not running' >&2\nexit 1\n")
    kubectl.chmod(0o755)
    with pytest.raises(UnreachableError, match=r"kubectl could not forward a port to MLflow: error: the pod is not"):
        opened()


@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_kubectl_that_cannot_be_started_is_named(mode: int | None, kubectl: Path) -> None:
    if mode is not None:
        kubectl.write_text("")
        kubectl.chmod(mode)
    with pytest.raises(UnreachableError, match=r"kubectl, which forwards a port to MLflow, is not on PATH; install it"):
        opened()
