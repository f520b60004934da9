"""Predict the rows of a file and write them to another file."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import httpx

from client import columns, result, tables
from client.endpoint import Endpoint, Predictions, Route, Row
from client.errors import InputError
from client.fit import Fit, fit
from client.journal import Journal, journal


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of one prediction of a file."""

    file: Path
    """Table of rows to predict."""
    out: Path
    """File to which the result is written."""
    keep: Sequence[str] = ()
    """Columns that are copied to the result and not sent."""
    rows: int = 1000
    """Largest number of rows in one request."""
    octets: int = 1024 * 1024
    """Largest size of one request in bytes; a single larger row is sent alone."""
    in_flight: int = 4
    """Largest number of requests in progress at the same time."""
    patience: float = 120
    """Seconds for which one failed request is retried."""
    token: Path | None = None
    """File with the token that the endpoint asks for; None if it asks for none."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """Summary of a finished prediction."""

    rows: int
    """Number of rows of the file."""
    resumed: int
    """Number of rows that an earlier run had predicted."""
    model: str
    """Name of the registered model."""
    versions: dict[str, int]
    """Number of rows that each version predicted, in the order of appearance."""


Watch = Callable[[int, int], None]
"""Function that is called with the number of predicted rows and the number of all rows."""


def predict(options: PredictOptions, route: Route, name: str, watch: Watch) -> Done:
    """Write the rows of the file with their predictions.

    Raises:
        InputError: the file or an option is wrong, or the model refuses a row.
        EndpointError: the endpoint cannot be reached. The journal keeps the predictions, and the same call continues.
    """
    return asyncio.run(_predict(options, route, name, watch))


async def _predict(options: PredictOptions, route: Route, name: str, watch: Watch) -> Done:
    table = tables.opened(options.file)
    result.check_names(table)
    limits = httpx.Limits(max_connections=options.in_flight, max_keepalive_connections=options.in_flight)
    async with httpx.AsyncClient(limits=limits) as http:
        endpoint = Endpoint(http=http, route=route, name=name, patience=options.patience, token=options.token)
        model = columns.read(await endpoint.schema())
        fitting = fit(table, model, options.keep)
        about = {"file": tables.digest(options.file), "endpoint": name, "keep": list(options.keep)}
        rows = fitting.count()
        with journal(options.out.with_name(f"{options.out.name}.part"), about) as kept:
            resumed = kept.rows
            if resumed > rows:
                raise InputError(f"{options.out}.part has more predictions than {options.file} has rows; delete it")
            watch(resumed, rows)
            await _send(options, endpoint, fitting, kept, lambda predicted: watch(predicted, rows))
            result.write(fitting, kept, options.out)
    options.out.with_name(f"{options.out.name}.part").unlink()
    return Done(rows=rows, resumed=resumed, model=model.title.partition(" version ")[0], versions=kept.versions)


async def _send(
    options: PredictOptions, endpoint: Endpoint, fitting: Fit, kept: Journal, watch: Callable[[int], None]
) -> None:
    """Send the rows that have no prediction yet, and add the predictions to the journal in order."""
    open_requests: deque[asyncio.Task[Sequence[Predictions]]] = deque()

    async def settle() -> None:
        """Wait for the oldest open request, and add its predictions to the journal."""
        for predictions in await open_requests.popleft():
            kept.add(predictions)
        watch(kept.rows)

    try:
        for rows in _requests(islice(fitting.requests(), kept.rows, None), options):
            if len(open_requests) == options.in_flight:
                await settle()
            open_requests.append(asyncio.create_task(endpoint.predict(fitting.form, rows)))
        while open_requests:
            await settle()
    finally:
        for task in open_requests:
            task.cancel()
        await asyncio.gather(*open_requests, return_exceptions=True)


def _requests(rows: Iterator[Row], options: PredictOptions) -> Iterator[Sequence[Row]]:
    """Yield the rows of each request, within the options' limits on rows and bytes."""
    together, octets = list[Row](), 0
    for row in rows:
        if together and (len(together) == options.rows or octets + len(row.text) > options.octets):
            yield together
            together, octets = [], 0
        together.append(row)
        octets += len(row.text) + 1
    if together:
        yield together
