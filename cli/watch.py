"""Function behind `mlops top`: the endpoints as Prometheus sees them, in a terminal or as JSON."""

import json as jsons
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cli import target
from cli.errors import CommandError
from contract import names
from contract.exit_codes import ExitCode
from monitoring import top
from runs.cluster import Cluster

SERVICE, PORT = "mlops-prometheus", 9090
"""Service of Prometheus with `mlops:monitoring` of kind `cluster`."""
SCRAPED_SECONDS, MOST_POINTS = 15, 240
"""Shortest time in seconds between two points of a picture, and their largest number."""
SECONDS = 10
"""Timeout in seconds of one query."""
Query = Callable[[str], top.Series]


def show(url: str | None, context: str | None, *, every: float, once: bool, json: bool) -> None:
    """Print the endpoints, again after each `every` seconds; once only if asked, as JSON or without a terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:  # a program reads one line for each version
        console.width = max(console.width, 140)
    with prometheus(url, lambda: target.cluster(context)) as query:
        if json:
            found = [asdict(row) for row in top.read(query)]
            print(jsons.dumps({"endpoints": found, "alerts": top.firing(query)}, indent=1))
        elif once or not console.is_terminal:
            console.print(_screen(query))
        else:
            with Live(_screen(query), console=console, auto_refresh=False, screen=True) as live:
                while True:
                    time.sleep(every)
                    live.update(_screen(query), refresh=True)


def draw(
    url: str | None,
    context: str | None,
    endpoint: str,
    *,
    minutes: int,
    folder: Path,
    chosen: Sequence[str] = (),
) -> Iterator[str]:
    """Write one SVG picture of each dashboard, or of those with these names.

    Yield the path of each, with the panels that show no value.
    """
    from monitoring import boards, pictures

    folder.mkdir(parents=True, exist_ok=True)
    end = time.time()
    step = max(SCRAPED_SECONDS, minutes * 60 // MOST_POINTS)
    with prometheus(url, lambda: target.cluster(context), start=end - minutes * 60, end=end, step=step) as query:
        for name in chosen or boards.BOARDS:
            file = folder / f"{boards.uid(name)}.svg"
            empty = pictures.draw(boards.BOARDS[name], endpoint, query, f"{4 * step}s", file)
            yield f"{file}" + (f"  without a value: {', '.join(empty)}" if empty else "")


def _screen(query: Query) -> Group:
    rows, alerts = top.read(query), top.firing(query)
    nothing = "no model server is scraped: the stack has no endpoint, or its pods are not ready"
    return Group(
        top.table(rows) if rows else Text(nothing),
        *(Text(f"alert: {each}", "red") for each in alerts),
    )


@contextmanager
def prometheus(url: str | None, cluster: Callable[[], Cluster], **span: float) -> Generator[Query]:
    """Yield a function that runs a query, at the URL, or in the cluster without one.

    It runs range queries if `span` has start, end and step in seconds.
    """
    if url:
        if not target.is_http(url):
            raise CommandError(f"--prometheus {url!r} is not a URL; write one such as http://localhost:9090")
        with _client(url.rstrip("/")) as client:
            yield partial(_ask, client, span)
        return
    with cluster().forwarded(names.PLATFORM, SERVICE, PORT) as address, _client(address) as client:
        yield partial(_ask, client, span)


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=SECONDS)


def _ask(client: httpx.Client, span: Mapping[str, float], expr: str) -> top.Series:
    try:
        answer = client.get(f"/api/v1/query{'_range' if span else ''}", params={"query": expr, **span})
        answer.raise_for_status()
        return answer.json()["data"]["result"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise CommandError(
            f"{client.base_url} did not answer a query as Prometheus does: {error}; check the address, or write "
            "another with --prometheus URL",
            ExitCode.FAILED,
        ) from error
