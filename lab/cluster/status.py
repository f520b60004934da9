"""What runs of the lab, for a person to read."""

import contextlib
import os
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab import paths
from lab.cluster import components, forward, layout, node, process
from lab.cluster.api import Api, ApiError


def show(console: Console) -> None:
    """Processes, nodes, addresses, and the memory of all together."""
    if not paths.cluster().exists():
        console.print("there is no cluster; make one with: lab up", highlight=False)
        return
    own, total = _processes(console)
    total += sum(memory(pid) for pid in node.inhabitants() - own)
    _nodes(console)
    for service, url in forward.urls().items():
        console.print(f"{service:20} {url}", highlight=False)
    console.print(f"memory of the lab and its pods: {total / 2**30:.2f} GiB", highlight=False)


def memory(pid: int) -> int:
    """Bytes of a process, its part of what it shares with others included."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _processes(console: Console) -> tuple[set[int], int]:
    table = Table("process", "pid", "up for", "memory", "state", box=None)
    own, total = set[int](), 0
    for component in components.everything():
        found = process.running(component.name)
        if not found:
            table.add_row(component.name, "-", "-", "-", "[red]not running")
            continue
        size = memory(found.pid)
        own.add(found.pid)
        total += size
        state = "works" if component.ready() else "[yellow]runs, does not answer"
        table.add_row(component.name, str(found.pid), _age(found.started), f"{size / 2**20:.0f} MiB", state)
    console.print(table)
    return own, total


def _nodes(console: Console) -> None:
    try:
        found = Api().get("/api/v1/nodes")["items"]
    except (OSError, ApiError) as error:
        console.print(f"nodes: {error}", highlight=False)
        return
    for each in found:
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in each["status"].get("conditions", ()))
        pool = each["metadata"]["labels"].get(layout.POOL_LABEL, "-")
        console.print(
            f"node {each['metadata']['name']:15} {'Ready' if ready else 'NotReady'}, pool {pool}, "
            f"{each['status']['nodeInfo']['kubeletVersion']}",
            highlight=False,
        )


def _age(started: int) -> str:
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    hours, minutes = int(seconds) // 3600, int(seconds) // 60 % 60
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{int(seconds) % 60:02d}s"
