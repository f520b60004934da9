"""A file of rows into a file of predictions."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import httpx

from client import columns, result, tables
from client.endpoint import Answered, Endpoint, Row, Way
from client.errors import InputError
from client.fit import Fit, fit
from client.journal import Journal, journal


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for. A request has at most `rows` rows and, unless one row alone is larger, at most `octets` bytes.

    `in_flight` requests are on their way at a time.
    """

    file: Path
    out: Path
    keep: Sequence[str] = ()
    rows: int = 1000
    octets: int = 1024 * 1024
    in_flight: int = 4
    patience: float = 120


@dataclass(frozen=True, kw_only=True)
class Done:
    """`resumed` rows had been answered before; `versions` is how many rows each version answered, in order."""

    rows: int
    resumed: int
    model: str
    versions: dict[str, int]


Watch = Callable[[int, int], None]
"""Is told how many rows have their answer, of how many."""


def predict(order: Order, way: Way, name: str, watch: Watch) -> Done:
    """The result is there when this returns.

    Raises:
        InputError: the file or the order is wrong; unless a row is named as refused, nothing was sent.
        EndpointError: the endpoint did not answer; what it did answer is kept, and the same call goes on from there.
    """
    return asyncio.run(_predict(order, way, name, watch))


async def _predict(order: Order, way: Way, name: str, watch: Watch) -> Done:
    table = tables.opened(order.file)
    result.check_names(table)
    limits = httpx.Limits(max_connections=order.in_flight, max_keepalive_connections=order.in_flight)
    async with httpx.AsyncClient(limits=limits) as http:
        endpoint = Endpoint(http=http, way=way, name=name, patience=order.patience)
        takes = columns.read(await endpoint.schema())
        fitting = fit(table, takes, order.keep)
        about = {"file": tables.digest(order.file), "endpoint": name, "keep": list(order.keep)}
        rows = fitting.count()
        with journal(order.out.with_name(f"{order.out.name}.part"), about) as kept:
            resumed = kept.rows
            if resumed > rows:
                raise InputError(f"{order.out}.part has more answers than {order.file} has rows; delete it")
            watch(resumed, rows)
            await _send(order, endpoint, fitting, kept, lambda answered: watch(answered, rows))
            result.write(fitting, kept, order.out)
    order.out.with_name(f"{order.out.name}.part").unlink()
    return Done(rows=rows, resumed=resumed, model=takes.title.partition(" version ")[0], versions=kept.versions)


async def _send(order: Order, endpoint: Endpoint, fitting: Fit, kept: Journal, watch: Callable[[int], None]) -> None:
    """Every row that has no answer yet has one, in order."""
    flying: deque[asyncio.Task[Sequence[Answered]]] = deque()

    async def settle() -> None:
        for answered in await flying.popleft():
            kept.add(answered)
        watch(kept.rows)

    try:
        for rows in _requests(islice(fitting.requests(), kept.rows, None), order):
            if len(flying) == order.in_flight:
                await settle()
            flying.append(asyncio.create_task(endpoint.predict(fitting.form, rows)))
        while flying:
            await settle()
    finally:
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)


def _requests(rows: Iterator[Row], order: Order) -> Iterator[Sequence[Row]]:
    """The rows of one request after another."""
    together, octets = list[Row](), 0
    for row in rows:
        if together and (len(together) == order.rows or octets + len(row.text) > order.octets):
            yield together
            together, octets = [], 0
        together.append(row)
        octets += len(row.text) + 1
    if together:
        yield together
