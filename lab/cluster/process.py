"""Detached processes that outlive the command that started them, found again by pid and start time."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from lab import paths
from lab.cluster import layout
from lab.errors import LabError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
READY_SECONDS = 60.0
_children = list[subprocess.Popen[bytes]]()
"""Those that this command started; they outlive it, and Python warns of a child that is forgotten while it runs."""
STOP_SECONDS = 10.0
LOG_KEPT = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of the cluster: how it is started, and how one sees that it works."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    """Asked often while the process starts, and by every `lab up`; must answer within a second or two."""
    files: tuple[Path, ...] = ()
    """Read at the start only: when one changes, the process is restarted."""
    in_node: bool = False
    """In the node's namespaces instead of the host's."""

    def fingerprint(self) -> str:
        """Changes whenever the process should be restarted."""
        digest = hashlib.sha256(repr((self.command, self.in_node)).encode())
        digest.update(str(Path(self.command[0]).resolve()).encode())
        for file in self.files:
            digest.update(file.read_bytes() if file.exists() else b"")
        return digest.hexdigest()

    @property
    def log(self) -> Path:
        """All that the process ever said, the oldest part dropped at a start."""
        return paths.logs() / f"{self.name}.log"


@dataclass(frozen=True)
class Record:
    """A process that was started. A pid alone names another process as soon as the kernel has used all numbers once."""

    pid: int
    boot: str
    started: int
    """Clock ticks after boot, field 22 of /proc/PID/stat."""
    fingerprint: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.boot == boot_id() and start_time(self.pid) == self.started


@cache
def boot_id() -> str:
    """Another one after every boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None when there is none, or only a zombie of it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def record(name: str) -> Record | None:
    """What was last started under this name, whether or not it still runs."""
    try:
        return Record(**json.loads((layout.pids() / f"{name}.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def running(name: str) -> Record | None:
    """The process of this name, if it runs."""
    found = record(name)
    return found if found and found.alive else None


def up_to_date(process: Process) -> bool:
    """Whether the process runs, and as it would be started now."""
    found = running(process.name)
    return found is not None and found.fingerprint == process.fingerprint()


def start(process: Process, prefix: Iterable[str] = ()) -> None:
    """The process runs afterwards, in a session of its own; `prefix` is what enters the node's namespaces."""
    layout.pids().mkdir(parents=True, exist_ok=True)
    process.log.parent.mkdir(parents=True, exist_ok=True)
    _trim(process.log)
    environment = {
        "PATH": f"{paths.binaries()}:{SYSTEM_PATH}",
        "HOME": str(paths.cluster()),
        "LAB_STATE": str(paths.state()),
        "LAB_CACHE": str(paths.cache()),
    }
    with process.log.open("ab") as log:
        started = subprocess.Popen(
            [*prefix, *process.command],
            env=environment,
            cwd=paths.cluster(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _children.append(started)
    made = Record(started.pid, boot_id(), start_time(started.pid) or 0, process.fingerprint())
    path = layout.pids() / f"{process.name}.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(made)))
    fresh.replace(path)


def wait_ready(processes: Iterable[Process], seconds: float = READY_SECONDS) -> None:
    """All of them work afterwards; LabError with the end of its log for the first that died or took too long."""
    waiting, end = list(processes), time.monotonic() + seconds
    while waiting:
        waiting = [process for process in waiting if not process.ready()]
        for process in waiting:
            if not running(process.name):
                raise LabError(f"{process.name} ended as it started; {_last_words(process)}")
            if time.monotonic() > end:
                raise LabError(f"{process.name} runs but is not ready after {seconds:.0f} s; {_last_words(process)}")
        if waiting:
            time.sleep(0.1)


def stop(process: Process, seconds: float = STOP_SECONDS) -> None:
    """The process does not run afterwards: asked first, killed after `seconds`."""
    for found in filter(None, [running(process.name), *_strays(process)]):
        _signal(found, signal.SIGTERM)
        if not _gone(found, seconds):
            _signal(found, signal.SIGKILL)
            _gone(found, STOP_SECONDS)
    (layout.pids() / f"{process.name}.json").unlink(missing_ok=True)


def _strays(process: Process) -> Iterator[Record]:
    """The same command, running without a record: somebody ended `lab up` between the start and the writing."""
    line = b"".join(part.encode() + b"\0" for part in process.command)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == line:
                pid = int(path.parent.name)
                yield Record(pid, boot_id(), start_time(pid) or 0, "")


def _gone(found: Record, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while found.alive and time.monotonic() < end:
        time.sleep(0.05)
    return not found.alive


def _signal(found: Record, number: signal.Signals) -> None:
    if found.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, number)


def _last_words(process: Process) -> str:
    lines = process.log.read_text(errors="replace").splitlines()[-8:]
    return "the end of " + "\n  ".join([f"{process.log}:", *lines])


def _trim(log: Path) -> None:
    """Keeps the end of a log that grew over many restarts."""
    if log.exists() and log.stat().st_size > LOG_KEPT:
        log.write_bytes(log.read_bytes()[-LOG_KEPT // 2 :])
