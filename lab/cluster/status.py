"""Function behind `lab status`: processes, nodes, addresses and memory."""

import contextlib
import json as jsons
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from images.errors import ProgramError
from lab import paths
from lab.cluster import forward, layout, node, operate, process
from lab.cluster.component import Component, load

COLOURS = {"ready": "green", "not ready": "yellow", "not running": "red"}


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of one process of the cluster."""

    name: str
    pid: int | None = None
    state: str = "not running"
    """`ready`, `not ready` or `not running`."""
    memory_bytes: int = 0
    up_seconds: int = 0


def show(console: Console, *, json: bool) -> None:
    """Print processes, nodes, addresses, and the memory of all together, as tables or as JSON."""
    found = [_status(component) for component in load()] if paths.cluster().exists() else []
    memory = sum(map(_memory, {each.pid for each in found if each.pid} | node.inhabitants())) if found else 0
    services = forward.urls() if found else {}
    if json:
        print(jsons.dumps({"processes": [*map(asdict, found)], "services": services, "memory_bytes": memory}, indent=1))
        return
    if not found:
        console.print("there is no cluster; start one with: lab up", highlight=False)
        return
    table = Table("process", "pid", "up for", "memory", "state", box=None)
    for each in found:
        hours, minutes, seconds = each.up_seconds // 3600, each.up_seconds // 60 % 60, each.up_seconds % 60
        cells = (str(each.pid), f"{hours}h{minutes:02d}m{seconds:02d}s", f"{each.memory_bytes / 2**20:.0f} MiB")
        table.add_row(each.name, *(cells if each.pid else "---"), f"[{COLOURS[each.state]}]{each.state}")
    console.print(table)
    try:
        nodes = operate.kubectl("get", "nodes", f"--label-columns={layout.POOL_LABEL}", "--request-timeout=5s")
    except ProgramError as error:
        nodes = str(error)
    lines = [nodes.rstrip(), *(f"{service:20} {url}" for service, url in services.items())]
    console.print("\n".join([*lines, f"memory of the lab and its pods: {memory / 2**30:.2f} GiB"]), highlight=False)


def _status(component: Component) -> Status:
    found = process.running(component.name)
    if found is None:
        return Status(name=component.name)
    return Status(
        name=component.name,
        pid=found.pid,
        state="ready" if process.ready(component) else "not ready",
        memory_bytes=_memory(found.pid),
        up_seconds=int(time.clock_gettime(time.CLOCK_BOOTTIME) - found.started / os.sysconf("SC_CLK_TCK")),
    )


def _memory(pid: int) -> int:
    """Return the memory of a process in bytes, with its share of the memory that it shares."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
