"""The ASGI application of one model version."""

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import perf_counter

from mlflow.pyfunc import PyFuncModel
from mlflow.version import VERSION
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics
from serving.model import load
from serving.protocol import JSON, answer, too_large
from serving.settings import ServerSettings

LOG = logging.getLogger("serving")
# A body over the limit is still read this many times the limit, so that its sender can read the 413.
READ_ON = 4


def create() -> ASGIApp:
    """The application of the model that the environment names; it is loaded and warm when this returns.

    Raises:
        ServingError: there is no such model, or it does not work.
    """
    settings = ServerSettings.load()
    start = perf_counter()
    model = load(settings.version_dir, settings.title)
    seconds = perf_counter() - start
    server = Server(model, settings)
    server.metrics.loaded(seconds)
    LOG.info("%s loaded and warm in %.1f s", settings.title, seconds)
    return server.application()


class Server:
    """Answers for one loaded model; never predicts on the event loop."""

    def __init__(self, model: PyFuncModel, settings: ServerSettings) -> None:
        self.metrics = Metrics(settings.model, settings.model_version)
        self.draining = False
        self._model = model
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="predict")

    def application(self) -> ASGIApp:
        """The routes, in the envelope that every answer gets."""
        routes = [
            Route("/invocations", self.invocations, methods=["POST"]),
            Route("/ping", ping),
            Route("/health", ping),
            Route("/version", version),
            Route("/metrics", self.show_metrics),
        ]
        return self.envelope(
            Starlette(routes=routes, lifespan=self.lifespan, exception_handlers={HTTPException: no_route})
        )

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        """SIGUSR1 starts draining."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.drain)
        yield
        self._threads.shutdown()

    def drain(self) -> None:
        """From now on each answer asks its client to connect anew, and so to find another server."""
        self.draining = True
        LOG.info("draining %s", self._settings.title)

    def envelope(self, app: ASGIApp) -> ASGIApp:
        """Every answer, errors included, names the version that made it."""

        async def enveloped(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_with_headers(message: Message) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableHeaders(scope=message)
                    headers["X-Model-Version"] = str(self._settings.model_version)
                    if self.draining:
                        headers["Connection"] = "close"
                await send(message)

            await app(scope, receive, send_with_headers)

        return enveloped

    async def invocations(self, request: Request) -> Response:
        """POST /invocations."""
        with self.metrics.request():
            try:
                body = await self.read(request)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            if body is None:
                said = too_large(self._settings.max_request_bytes)
            else:
                content_type = request.headers.get("content-type")
                loop = asyncio.get_running_loop()
                said = await loop.run_in_executor(self._threads, answer, self._model, content_type, body)
        self.metrics.answered(said.status)
        # What is left of a body that was not read to its end must not be taken for the next request.
        headers = {"Connection": "close"} if body is None else None
        return Response(said.body, said.status, headers, said.media_type)

    async def read(self, request: Request) -> bytes | None:
        """The body, or None when it is over the limit."""
        limit = self._settings.max_request_bytes
        body = bytearray()
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                body += chunk
            elif size > READ_ON * limit:
                break
        return bytes(body) if size <= limit else None

    async def show_metrics(self, _request: Request) -> Response:
        """GET /metrics."""
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def ping(_request: Request) -> Response:
    """GET /ping and /health: the model is loaded, or nothing would listen."""
    return Response("\n", media_type=JSON)


async def version(_request: Request) -> Response:
    """GET /version: MLflow's, as its own server has it; the model's is in a header of every answer."""
    return Response(VERSION, media_type=JSON)


async def no_route(_request: Request, error: Exception) -> Response:
    """404 and 405 in the shape that MLflow's server gives them."""
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"detail": detail}, status, headers)
