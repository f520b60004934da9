"""Leads ports of 127.0.0.1 to Services: MLflow's, the artifact store's, and one for each model endpoint.

A Service keeps its port for good; the numbers are remembered in the lab's state.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import paths
from lab.cluster.api import Api, Object
from lab.cluster.process import running
from lab.errors import LabError

TRACKING = ("mlops-platform", "mlflow")
STORE = ("mlops-platform", "s3")
ENDPOINTS = "ml-serving"
TRACKING_PORT = 5000
STORE_PORT = 7070
FIRST_ENDPOINT_PORT = 8080
LAST_ENDPOINT_PORT = 8179
HOST = "127.0.0.1"
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Target:
    """Where a forwarded connection ends."""

    address: str
    port: int


def urls() -> dict[str, str]:
    """Service -> address for a browser on this machine, of the Services that are there now."""
    return {name: f"http://localhost:{port}" for name, port in _remembered(paths.open_ports()).items()}


def tracking_port() -> int:
    """The port where MLflow is, or will be."""
    return _remembered(paths.ports()).get(_key(*TRACKING), TRACKING_PORT)


def choose_tracking_port(port: int | None = None) -> int:
    """Remembers the port for MLflow: the one wanted, else the one of last time, else 5000.

    LabError when another program has it, with its name and a port that is free.
    """
    port = port or tracking_port()
    ports = _remembered(paths.ports())
    ours = running("agent") is not None and _remembered(paths.open_ports()).get(TRACKING[1]) == port
    if not ours and is_taken(port):
        free = next_free(port + 1, taken=ports.values())
        raise LabError(
            f"port {port} of {HOST} is for MLflow, but {_holder(port)} listens there: end that program, "
            f"or take another port, such as this free one: lab up --mlflow-port {free}"
        )
    _remember(paths.ports(), {**ports, _key(*TRACKING): port})
    return port


def plan(services: Iterable[Object], ports: Mapping[str, int]) -> tuple[dict[str, Target], dict[str, int]]:
    """Which Services are led where, and all ports given so far, those of Services that are gone included."""
    targets = {_key_of(service): target for service in services if (target := _target(service))}
    given = dict(ports)
    first = {_key(*TRACKING): TRACKING_PORT, _key(*STORE): STORE_PORT}
    for key in sorted(targets):
        if key not in given:
            given[key] = next_free(first.get(key, FIRST_ENDPOINT_PORT), taken=given.values())
    return targets, given


def next_free(first: int, taken: Iterable[int]) -> int:
    """The first port from `first` on that is neither given away nor in use."""
    refused = set(taken)
    for port in range(first, first + LAST_ENDPOINT_PORT - FIRST_ENDPOINT_PORT):
        if port not in refused and not is_taken(port):
            return port
    raise LabError(f"no port of {HOST} is free from {first} on: end a program that listens there")


def is_taken(port: int) -> bool:
    """Whether a program listens on the port, on 127.0.0.1 or on all addresses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


class Forwarder:
    """Open ports, one for each Service, as the Services come and go."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        self.servers: dict[str, asyncio.Server] = {}
        self.ports: dict[str, int] = {}
        self.opening = asyncio.Lock()

    async def follow(self, services: Iterable[Object]) -> None:
        """Exactly these Services are reachable afterwards; connections of those that stay are not touched."""
        self.targets, given = plan(services, _remembered(paths.ports()))
        _remember(paths.ports(), given)
        for key in set(self.servers) - set(self.targets):
            self.servers.pop(key).close()
        await self.open_missing()

    async def open_missing(self) -> None:
        """Every Service has its port open, but for one whose port another program holds; that is tried again later."""
        async with self.opening:
            for key in set(self.targets) - set(self.servers):
                await self._open(key)
        _remember(paths.open_ports(), {key.partition("/")[2]: self.ports[key] for key in self.servers})

    async def _open(self, key: str) -> None:
        async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _lead(self.targets.get(key), reader, writer)

        ports = _remembered(paths.ports())
        if key != _key(*TRACKING) and is_taken(ports[key]):
            # An endpoint can move; MLflow cannot, for it answers only to the host names and ports that it was told.
            ports[key] = next_free(FIRST_ENDPOINT_PORT, taken=ports.values())
            _remember(paths.ports(), ports)
        with contextlib.suppress(OSError):
            self.servers[key] = await asyncio.start_server(lead, HOST, ports[key])
            self.ports[key] = ports[key]
            print(f"{key}: {HOST}:{ports[key]}", flush=True)


async def _lead(target: Target | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    ends = [writer]
    try:
        if target is None:
            return
        far_reader, far_writer = await asyncio.wait_for(asyncio.open_connection(target.address, target.port), 10)
        ends.append(far_writer)
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    except (OSError, TimeoutError):
        return
    finally:
        for end in ends:
            end.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends: the other is told, and may still send."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()


def follow_services(api: Api, forwarder: Forwarder, loop: asyncio.AbstractEventLoop) -> None:
    """Keeps the forwarder up to date, until the server ends the watch. Runs beside the event loop."""
    services: dict[str, Object] = {}
    for kind, found in api.watch("/api/v1/services"):
        if kind == "LISTED":
            services = {_key_of(service): service for service in found["items"]}
        elif kind == "DELETED":
            services.pop(_key_of(found), None)
        else:
            services[_key_of(found)] = found
        asyncio.run_coroutine_threadsafe(forwarder.follow(list(services.values())), loop).result()


def _target(service: Object) -> Target | None:
    """None for a Service that is not ours to lead to, or has no address of its own."""
    metadata, spec = service["metadata"], service["spec"]
    wanted = metadata["namespace"] == ENDPOINTS or (metadata["namespace"], metadata["name"]) in {TRACKING, STORE}
    address = spec.get("clusterIP", "None")
    if not wanted or address == "None" or not spec.get("ports"):
        return None
    return Target(address, spec["ports"][0]["port"])


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"


def _key_of(service: Object) -> str:
    return _key(service["metadata"]["namespace"], service["metadata"]["name"])


def _holder(port: int) -> str:
    """The program that listens on a port, as far as this user may know."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(link.readlink().name in inodes for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "another program"


def _listening_inodes(port: int) -> set[str]:
    found = set[str]()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                found.add(f"socket:[{fields[9]}]")
    return found


def _remembered(file: Path) -> dict[str, int]:
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _remember(file: Path, numbers: Mapping[str, int]) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(numbers, indent=2, sort_keys=True))
    fresh.replace(file)
