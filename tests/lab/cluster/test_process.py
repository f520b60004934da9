"""Processes of the cluster: found again, not confused with others, restarted after a change."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.cluster import layout, process
from lab.cluster.component import Component
from lab.cluster.process import Record
from lab.errors import LabError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    (tmp_path / "cluster").mkdir()
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator[Component]:
    # The number of seconds names this test's process among all on the machine.
    made = Component(name="sleeper", command=["/bin/sleep", f"60.{os.getpid()}"])
    yield made
    process.stop(made)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def started(name: str) -> Record:
    """Return the process of this name once the kernel shows its command line."""
    found = process.running(name)
    assert found
    until(lambda: b"sleep" in Path(f"/proc/{found.pid}/cmdline").read_bytes())
    return found


def rewrite(name: str, change: Callable[[Record], Record]) -> None:
    found = process.record(name)
    assert found
    (layout.pids() / f"{name}.json").write_text(json.dumps(asdict(change(found))))


def test_a_started_process_is_found_again(sleeper: Component) -> None:
    process.start(sleeper)
    assert process.running("sleeper")
    assert process.up_to_date(sleeper)


def test_it_has_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(sleeper: Component) -> None:
    process.start(sleeper)
    found = process.running("sleeper")
    assert found
    assert os.getsid(found.pid) == found.pid


def test_a_killed_process_is_not_taken_for_running(sleeper: Component) -> None:
    process.start(sleeper)
    found = process.running("sleeper")
    assert found
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: process.running("sleeper") is None)


def test_another_process_with_the_same_pid_is_neither_found_nor_killed(sleeper: Component) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        process.start(sleeper)
        mine = started("sleeper")
        rewrite("sleeper", lambda found: replace(found, pid=stranger.pid, started=1))
        assert process.running("sleeper") is None
        process.stop(sleeper)
        survived = stranger.poll() is None
        stranger.kill()
    assert survived
    assert not mine.alive


def test_after_a_reboot_no_record_counts(sleeper: Component) -> None:
    process.start(sleeper)
    rewrite("sleeper", lambda found: replace(found, boot="another"))
    assert process.running("sleeper") is None


def test_a_process_that_was_started_but_never_recorded_is_stopped_too(sleeper: Component) -> None:
    process.start(sleeper)
    found = started("sleeper")
    (layout.pids() / "sleeper.json").unlink()
    process.stop(sleeper)
    assert not found.alive


def test_a_process_of_another_lab_with_the_same_command_is_neither_found_nor_stopped(
    sleeper: Component, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.start(sleeper)
    theirs = started("sleeper")
    monkeypatch.setenv("LAB_STATE", str(state / "another"))
    (state / "another" / "cluster").mkdir(parents=True)
    process.stop(sleeper)
    survived = theirs.alive
    monkeypatch.setenv("LAB_STATE", str(state))
    assert survived


def test_a_damaged_record_counts_as_none(sleeper: Component) -> None:
    process.start(sleeper)
    (layout.pids() / "sleeper.json").write_text('{"pid": 1}')
    assert process.record("sleeper") is None


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    command = ("/bin/sh", "-c", f"trap '' TERM; echo deaf; while :; do sleep 0.1; done; : {tmp_path}")
    deaf = Component(name="deaf", command=command)
    process.start(deaf)
    found = process.running("deaf")
    assert found
    until(lambda: "deaf" in deaf.log.read_text())
    process.stop(deaf, seconds=0.2)
    assert not found.alive


def test_a_changed_file_or_command_asks_for_a_restart(sleeper: Component, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("old")
    configured = replace(sleeper, sources=[str(tmp_path / "config")])
    process.start(configured)
    assert process.up_to_date(configured)
    assert not process.up_to_date(replace(configured, command=[*sleeper.command, "1"]))
    (tmp_path / "config").write_text("new")
    assert not process.up_to_date(configured)
    process.stop(configured)


def test_a_process_that_dies_is_reported_with_its_last_words() -> None:
    command = ["/bin/sh", "-c", "echo cannot open the data; exit 3"]
    dying = Component(name="dying", command=command, probe="unix:/nowhere")
    process.start(dying)
    with pytest.raises(LabError, match=r"(?s)^dying exited during its start; the end of .*dying\.log:\n  cannot open"):
        process.wait_ready([dying])


def test_a_process_that_hangs_is_reported_as_running_but_not_ready(sleeper: Component) -> None:
    process.start(sleeper)
    with pytest.raises(LabError, match="sleeper runs but is not ready after 0 s"):
        process.wait_ready([replace(sleeper, probe="unix:/nowhere")], seconds=0.2)


def test_a_log_that_grew_keeps_its_end(sleeper: Component, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_KEPT", 100)
    sleeper.log.parent.mkdir(parents=True)
    sleeper.log.write_text("old " * 100 + "new")
    process.start(sleeper)
    assert sleeper.log.stat().st_size <= 50
    assert sleeper.log.read_text().endswith("new")


def test_a_node_that_cannot_be_prepared_is_reported_with_the_reason(sleeper: Component) -> None:
    with pytest.raises(LabError, match=r"(?s)preparing the node for sleeper failed; .*sleeper\.log:\n  no such table"):
        process.start(replace(sleeper, setup="echo no such table; exit 1"))
    assert process.running("sleeper") is None


def test_the_node_is_prepared_before_the_process_starts(sleeper: Component, tmp_path: Path) -> None:
    process.start(replace(sleeper, setup=f"touch {tmp_path}/prepared"))
    assert (tmp_path / "prepared").exists()


def test_a_server_works_once_it_answers_with_200(sleeper: Component) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 503)
            self.end_headers()

    process.start(sleeper)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert process.ready(replace(sleeper, probe=f"{url}/healthz"))
        assert not process.ready(replace(sleeper, probe=f"{url}/elsewhere"))
        server.shutdown()
        thread.join()
    assert not process.ready(replace(sleeper, probe=f"{url}/healthz"))
