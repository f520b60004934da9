"""The lab's own process in the cluster: `python -m lab.cluster.agent STATE`, of the lab with that folder."""

import asyncio
import http.client
import threading
import time
from collections.abc import Callable

from lab.cluster.api import Api, ApiError
from lab.cluster.forward import Forwarder, follow_services
from lab.cluster.volumes import follow_claims, follow_volumes

PAUSE_SECONDS = 1.0
RETRY_SECONDS = 5.0


def keep(name: str, work: Callable[[], None]) -> None:
    """Does the work again whenever it ends: a watch ends every few minutes, and whenever the API server does."""
    while True:
        try:
            work()
        except (OSError, http.client.HTTPException, ApiError) as error:
            print(f"{name}: {error}", flush=True)
            time.sleep(PAUSE_SECONDS)


async def main() -> None:
    """Never ends by itself."""
    loop, forwarder = asyncio.get_running_loop(), Forwarder()
    works: dict[str, Callable[[], None]] = {
        "claims": lambda: follow_claims(Api("agent")),
        "volumes": lambda: follow_volumes(Api("agent")),
        "services": lambda: follow_services(Api("agent"), forwarder, loop),
    }
    for name, work in works.items():
        threading.Thread(target=keep, args=(name, work), name=name, daemon=True).start()
    while True:
        await asyncio.sleep(RETRY_SECONDS)
        if set(forwarder.targets) - set(forwarder.servers):
            await forwarder.open_missing()


if __name__ == "__main__":
    asyncio.run(main())
