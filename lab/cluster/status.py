"""Function behind `lab status`: processes, nodes, addresses and memory."""

import contextlib
import json as jsons
import os
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from images.errors import ProgramError
from lab import paths
from lab.cluster import forward, layout, node, operate, process
from lab.cluster.component import load


def show(console: Console, *, json: bool) -> None:
    """Print processes, nodes, addresses, and the memory of all together, as tables or as JSON."""
    if json:
        print(jsons.dumps(_status(), indent=1))
        return
    if not paths.cluster().exists():
        console.print("there is no cluster; start one with: lab up", highlight=False)
        return
    table = Table("process", "pid", "up for", "memory", "state", box=None)
    pids = set[int]()
    for component in load():
        if found := process.running(component.name):
            pids.add(found.pid)
            state = "works" if process.ready(component) else "[yellow]runs, not ready"
            size = f"{_memory(found.pid) / 2**20:.0f} MiB"
            table.add_row(component.name, str(found.pid), _age(found.started), size, state)
        else:
            table.add_row(component.name, "-", "-", "-", "[red]not running")
    console.print(table)
    try:
        nodes = operate.kubectl("get", "nodes", f"--label-columns={layout.POOL_LABEL}", "--request-timeout=5s")
    except ProgramError as error:
        nodes = str(error)
    lines = [nodes.rstrip(), *(f"{service:20} {url}" for service, url in forward.urls().items())]
    total = sum(map(_memory, pids | node.inhabitants()))
    console.print("\n".join([*lines, f"memory of the lab and its pods: {total / 2**30:.2f} GiB"]), highlight=False)


def _status() -> dict[str, object]:
    """Return processes with pid and state, URLs by Service, and memory in bytes; all empty without a cluster."""
    if not paths.cluster().exists():
        return {"processes": [], "services": {}, "memory_bytes": 0}
    processes = [
        {"name": component.name, "pid": found.pid, "state": "ready" if process.ready(component) else "not ready"}
        if (found := process.running(component.name))
        else {"name": component.name, "pid": None, "state": "not running"}
        for component in load()
    ]
    pids = {found.pid for component in load() if (found := process.running(component.name))}
    memory = sum(map(_memory, pids | node.inhabitants()))
    return {"processes": processes, "services": forward.urls(), "memory_bytes": memory}


def _memory(pid: int) -> int:
    """Return the memory of a process in bytes, with its share of the memory that it shares."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _age(started: int) -> str:
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    hours, minutes = int(seconds) // 3600, int(seconds) // 60 % 60
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{int(seconds) % 60:02d}s"
