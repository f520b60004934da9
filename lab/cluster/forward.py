"""Forward ports of 127.0.0.1 to Services: MLflow, the artifact store, and each model endpoint.

A Service keeps its port; the numbers are in the lab's state. Connections start in the node's network namespace, like
those of `kubectl port-forward`, so no NetworkPolicy refuses them.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import paths
from lab.cluster import layout
from lab.cluster.component import Object
from lab.cluster.process import running
from lab.errors import LabError
from lab.files import write

TRACKING = "mlops-platform/mlflow"
STORE = "mlops-platform/s3"
ENDPOINTS = "ml-serving"
TRACKING_PORT = 5000
STORE_PORT = 7070
FIRST_ENDPOINT_PORT = 8080
LAST_ENDPOINT_PORT = 8179
HOST = "127.0.0.1"
CHUNK = 64 * 1024
CONNECT_SECONDS = 10.0
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Target:
    """Address of a Service to which a port is forwarded."""

    address: str
    port: int


def urls() -> dict[str, str]:
    """Return the URLs on this machine of the Services that are forwarded now, by Service name."""
    return {name: f"http://localhost:{port}" for name, port in _remembered(paths.open_ports()).items()}


def tracking_port() -> int:
    """Return the port of MLflow."""
    return _remembered(paths.ports()).get(TRACKING, TRACKING_PORT)


def choose_tracking_port(port: int | None = None) -> int:
    """Store the port for MLflow: the given one, else the last one, else 5000.

    LabError if another program uses it, with that program's name and a free port.
    """
    port = port or tracking_port()
    ports = _remembered(paths.ports())
    ours = running("agent") is not None and _remembered(paths.open_ports()).get("mlflow") == port
    if not ours and is_taken(port):
        free = next_free(port + 1, taken=ports.values())
        raise LabError(
            f"port {port} of {HOST} is needed for MLflow, but {_holder(port)} listens there: end that program, "
            f"or use another port, such as this free one: lab up --mlflow-port {free}"
        )
    _remember(paths.ports(), {**ports, TRACKING: port})
    return port


def plan(services: Iterable[Object], ports: Mapping[str, int]) -> tuple[dict[str, Target], dict[str, int]]:
    """Return the targets of the forwarded Services, and the ports of all Services, also of deleted ones."""
    targets = {_key(service): target for service in services if (target := _target(service))}
    numbers, first = dict(ports), {TRACKING: TRACKING_PORT, STORE: STORE_PORT}
    for key in sorted(targets):
        if key not in numbers:
            numbers[key] = next_free(first.get(key, FIRST_ENDPOINT_PORT), taken=numbers.values())
    return targets, numbers


def next_free(first: int, taken: Iterable[int]) -> int:
    """Return the first port, from `first` on, that no Service has and no program uses."""
    refused = set(taken)
    for port in range(first, first + LAST_ENDPOINT_PORT - FIRST_ENDPOINT_PORT):
        if port not in refused and not is_taken(port):
            return port
    raise LabError(f"no port of {HOST} from {first} on is free: end a program that listens there")


def is_taken(port: int) -> bool:
    """Return True if a program listens on the port, on 127.0.0.1 or on all addresses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


class Forwarder:
    """Forwarder with one open port for each Service."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        self.servers: dict[str, asyncio.Server] = {}
        self.opening = asyncio.Lock()
        # A socket belongs to the network namespace of the thread that creates it.
        self.node = ThreadPoolExecutor(1, initializer=_enter_node)

    async def follow(self, services: Iterable[Object]) -> None:
        """Forward ports to exactly these Services, without an effect on connections to those that stay."""
        self.targets, numbers = plan(services, _remembered(paths.ports()))
        _remember(paths.ports(), numbers)
        for key in set(self.servers) - set(self.targets):
            self.servers.pop(key).close()
        await self.open_missing()

    async def open_missing(self) -> None:
        """Open the ports that are missing. A port that another program uses is tried again later."""
        async with self.opening:
            for key in set(self.targets) - set(self.servers):
                await self._open(key)
        ports = {key.partition("/")[2]: server.sockets[0].getsockname()[1] for key, server in self.servers.items()}
        _remember(paths.open_ports(), ports)

    async def _open(self, key: str) -> None:
        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._forward(self.targets.get(key), reader, writer)

        ports = _remembered(paths.ports())
        if key != TRACKING and is_taken(ports[key]):
            # An endpoint may get another port. MLflow may not, because it accepts only the hosts in its settings.
            ports[key] = next_free(FIRST_ENDPOINT_PORT, taken=ports.values())
            _remember(paths.ports(), ports)
        with contextlib.suppress(OSError):
            self.servers[key] = await asyncio.start_server(forward, HOST, ports[key])
            print(f"{key}: {HOST}:{ports[key]}", flush=True)

    async def _forward(self, target: Target | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            if target is None:
                return
            far_reader, far_writer = await asyncio.wait_for(self._connect(target), CONNECT_SECONDS)
            ends.append(far_writer)
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        except (OSError, TimeoutError):
            return
        finally:
            for end in ends:
                end.close()

    async def _connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(self.node, socket.socket)
        try:
            opened.setblocking(False)
            await loop.sock_connect(opened, (target.address, target.port))
            return await asyncio.open_connection(sock=opened)
        except BaseException:
            opened.close()
            raise


def _enter_node() -> None:
    """Move the calling thread into the node's network namespace."""
    with layout.network_namespace().open("rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(layout.network_namespace()))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends. The other side gets the end of the stream, and may still send."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()


def _target(service: Object) -> Target | None:
    """Return the Service's address; None if it is not forwarded or has no address."""
    spec = service["spec"]
    wanted = service["metadata"]["namespace"] == ENDPOINTS or _key(service) in {TRACKING, STORE}
    address = spec.get("clusterIP", "None")
    if not wanted or address == "None" or not spec.get("ports"):
        return None
    return Target(address, spec["ports"][0]["port"])


def _key(service: Object) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"


def _holder(port: int) -> str:
    """Return name and pid of the program that listens on a port, if this user may see them."""
    output = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, check=False).stdout
    found = re.search(r'"([^"]+)",pid=(\d+)', output)
    return f"{found[1]} (pid {found[2]})" if found else "another program"


def _remembered(file: Path) -> dict[str, int]:
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _remember(file: Path, numbers: Mapping[str, int]) -> None:
    write(file, json.dumps(numbers, indent=2, sort_keys=True))
