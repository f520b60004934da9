"""Agent of the lab: persistent volumes and forwarded ports. It runs as `python -m lab.cluster.agent STATE`."""

import asyncio
import http.client
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from lab.cluster import layout
from lab.cluster.component import Object, connection
from lab.cluster.forward import Forwarder
from lab.cluster.volumes import is_released, volume_for, waits_for_volume

PAUSE_SECONDS = 1.0
RETRY_SECONDS = 5.0
WATCH_SECONDS = 300
VOLUMES = "/api/v1/persistentvolumes"


def request(method: str, path: str, body: Object | None = None, *, timeout: float = 10) -> Iterator[bytes]:
    """Send a request to the API server and yield the lines of its response.

    A response that an object exists already, or does not exist, is no error.
    """
    opened = connection(layout.API_SERVER, "agent", timeout)
    try:
        headers = {"Content-Type": "application/json"}
        opened.request(method, path, json.dumps(body) if body else None, headers)
        response = opened.getresponse()
        if response.status not in {200, 201, 404, 409}:
            raise http.client.HTTPException(f"{method} {path}: {response.read().decode(errors='replace')}")
        yield from iter(response.readline, b"")
    finally:
        opened.close()


def watch(path: str) -> Iterator[Iterable[Object]]:
    """Yield all objects at `path` at once and after each change, until the server ends the watch."""
    [listed] = [json.loads(b"".join(request("GET", path)))]
    found: dict[str, Object] = {each["metadata"]["uid"]: each for each in listed["items"]}
    yield found.values()
    version = f"resourceVersion={listed['metadata']['resourceVersion']}"
    query = f"{path}?watch=1&timeoutSeconds={WATCH_SECONDS}&{version}"
    for line in request("GET", query, timeout=2 * WATCH_SECONDS):
        event = json.loads(line)
        if event["type"] == "ERROR":
            return
        found[event["object"]["metadata"]["uid"]] = event["object"]
        if event["type"] == "DELETED":
            del found[event["object"]["metadata"]["uid"]]
        yield found.values()


def follow_claims() -> None:
    """Create a volume for each claim that waits for one."""
    for claims in watch("/api/v1/persistentvolumeclaims"):
        for volume in map(volume_for, filter(waits_for_volume, claims)):
            (layout.volumes() / volume["metadata"]["name"]).mkdir(parents=True, exist_ok=True)
            list(request("POST", VOLUMES, volume))


def follow_volumes() -> None:
    """Delete each volume whose claim was deleted, and its folder."""
    for volumes in watch(VOLUMES):
        for name in [volume["metadata"]["name"] for volume in volumes if is_released(volume)]:
            shutil.rmtree(layout.volumes() / name, ignore_errors=True)
            list(request("DELETE", f"{VOLUMES}/{name}"))


def repeat(name: str, work: Callable[[], None]) -> None:
    """Repeat the work whenever it ends: a watch ends after some minutes, or when the API server stops."""
    while True:
        try:
            work()
        except (OSError, http.client.HTTPException) as error:
            print(f"{name}: {error}", flush=True)
            time.sleep(PAUSE_SECONDS)


async def main() -> None:
    """Run the agent until it is stopped."""
    loop, forwarder = asyncio.get_running_loop(), Forwarder()

    def follow_services() -> None:
        for services in watch("/api/v1/services"):
            asyncio.run_coroutine_threadsafe(forwarder.follow(services), loop).result()

    for work in (follow_claims, follow_volumes, follow_services):
        threading.Thread(target=repeat, args=(work.__name__, work), daemon=True).start()
    while True:
        await asyncio.sleep(RETRY_SECONDS)
        if set(forwarder.targets) - set(forwarder.servers):
            await forwarder.open_missing()


if __name__ == "__main__":
    asyncio.run(main())
