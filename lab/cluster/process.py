"""Processes of the cluster. They outlive the command that started them, and are found by pid and start time."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from lab import paths
from lab.cluster import layout
from lab.cluster.component import Component, connection
from lab.errors import LabError
from lab.files import write

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
LOG_KEPT = 8 * 2**20
"""Size in bytes above which a log is shortened when its process starts."""
_children = list[subprocess.Popen[bytes]]()
"""Processes that this command started, kept because Python warns of a running child that is not referenced."""


@dataclass(frozen=True)
class Record:
    """Identity of a started process. The pid alone is not enough, because the kernel reuses pids."""

    pid: int
    boot: str
    """Identifier of the machine's boot."""
    started: int
    """Clock ticks after boot, field 22 of /proc/PID/stat."""
    fingerprint: str
    """Fingerprint of the component at the start."""

    @property
    def alive(self) -> bool:
        """True if this process still runs."""
        return self.boot == boot_id() and start_time(self.pid) == self.started


@cache
def boot_id() -> str:
    """Return the identifier of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Return the start time of a process in clock ticks after boot; None if it does not exist or is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def record(name: str) -> Record | None:
    """Return the last process that was started under this name, running or not."""
    try:
        return Record(**json.loads(_file(name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def running(name: str) -> Record | None:
    """Return the process of this name if it runs."""
    found = record(name)
    return found if found and found.alive else None


def up_to_date(component: Component) -> bool:
    """Return True if the process runs with the command line and files that it would be started with now."""
    found = running(component.name)
    return found is not None and found.fingerprint == component.fingerprint()


def ready(component: Component) -> bool:
    """Return True if the process runs and its probe succeeds; takes at most a few seconds."""
    kind, _, rest = component.probe.partition(":")
    if (found := running(component.name)) is None or not component.probe:
        return found is not None
    try:
        if kind == "nfqueue":
            queues = Path(f"/proc/{found.pid}/net/netfilter/nfnetlink_queue").read_text().splitlines()
            return any(line.split()[0] == rest for line in queues)
        if kind == "unix":
            with socket.socket(socket.AF_UNIX) as client:
                # The socket is in the node's /run, which the host sees through /proc.
                client.connect(f"/proc/{found.pid}/root{rest}")
            return True
        with contextlib.closing(connection(component.probe)) as opened:
            opened.request("GET", urlsplit(component.probe).path)
            return opened.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def start(component: Component, prefix: Iterable[str] = ()) -> None:
    """Start the process in its own session. `prefix` is a command that enters the node's namespaces."""
    component.log.parent.mkdir(parents=True, exist_ok=True)
    _trim(component.log)
    environment = {
        "PATH": f"{paths.binaries()}:{SYSTEM_PATH}",
        "HOME": str(paths.cluster()),
        "LAB_STATE": str(paths.state()),
        "LAB_CACHE": str(paths.cache()),
        "LAB_NAME": layout.NAME,
        **component.environment,
    }
    with component.log.open("ab") as log:
        if component.setup:
            script = [*prefix, "sh", "-euc", component.setup]
            done = subprocess.run(
                script, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
            if done.returncode:
                raise LabError(f"preparing the node for {component.name} failed; {_end_of_log(component)}")
        started = subprocess.Popen(
            [*prefix, *component.arguments],
            env=environment,
            cwd=paths.cluster(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _children.append(started)
    identity = Record(started.pid, boot_id(), start_time(started.pid) or 0, component.fingerprint())
    write(_file(component.name), json.dumps(asdict(identity)))


def wait_ready(components: Iterable[Component], seconds: float = READY_SECONDS) -> None:
    """Wait until all are ready. LabError with the end of the log if one exits or takes too long."""
    waiting, end = list(components), time.monotonic() + seconds
    while waiting:
        waiting = [component for component in waiting if not ready(component)]
        for component in waiting:
            if not running(component.name):
                raise LabError(f"{component.name} exited during its start; {_end_of_log(component)}")
            if time.monotonic() > end:
                raise LabError(
                    f"{component.name} runs but is not ready after {seconds:.0f} s; {_end_of_log(component)}"
                )
        if waiting:
            time.sleep(0.1)


def stop(component: Component, seconds: float = STOP_SECONDS) -> None:
    """Stop the process: SIGTERM, and SIGKILL after `seconds`."""
    for found in filter(None, [running(component.name), *_strays(component)]):
        _signal(found, signal.SIGTERM)
        if not _gone(found, seconds):
            _signal(found, signal.SIGKILL)
            _gone(found, STOP_SECONDS)
    _file(component.name).unlink(missing_ok=True)


def _strays(component: Component) -> Iterator[Record]:
    """Yield processes of this lab with the same command and no record, left by an interruption during the start."""
    line = b"".join(part.encode() + b"\0" for part in component.arguments)
    ours = f"LAB_STATE={paths.state()}".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == line and ours in path.with_name("environ").read_bytes().split(b"\0"):
                pid = int(path.parent.name)
                yield Record(pid, boot_id(), start_time(pid) or 0, "")


def _file(name: str) -> Path:
    return layout.pids() / f"{name}.json"


def _gone(found: Record, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while found.alive and time.monotonic() < end:
        time.sleep(0.05)
    return not found.alive


def _signal(found: Record, number: signal.Signals) -> None:
    if found.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, number)


def _end_of_log(component: Component) -> str:
    lines = component.log.read_text(errors="replace").splitlines()[-8:]
    return "the end of " + "\n  ".join([f"{component.log}:", *lines])


def _trim(log: Path) -> None:
    """Remove the beginning of a log that is too long."""
    if log.exists() and log.stat().st_size > LOG_KEPT:
        log.write_bytes(log.read_bytes()[-LOG_KEPT // 2 :])
