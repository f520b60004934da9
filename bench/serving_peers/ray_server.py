"""Ray Serve server: `python ray_server.py PORT`."""

import signal
import sys
from typing import Any

from ray import serve
from starlette.requests import Request
from table import array, load


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
class Model:
    """Deployment with one replica and one model."""

    def __init__(self) -> None:
        self.model = load()

    async def __call__(self, request: Request) -> Any:
        return {"predictions": self.model.predict(array(await request.json())).tolist()}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Model.bind(), route_prefix="/invocations")
    signal.pause()
