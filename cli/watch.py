"""Function behind `mlops top`: the endpoints as Prometheus sees them, in a terminal or as JSON."""

import json as jsons
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

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
SECONDS = 10
"""Timeout in seconds of one query."""
Query = Callable[[str], top.Series]


def show(url: str | None, context: str | None, *, every: float, once: bool, json: bool) -> None:
    """Print the endpoints, again after each `every` seconds; once only if asked, as JSON or without a terminal."""
    console = Console(highlight=False)
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


def _screen(query: Query) -> Group:
    rows, alerts = top.read(query), top.firing(query)
    nothing = "no model server is scraped: the stack has no endpoint, or its pods are not ready"
    return Group(
        top.table(rows) if rows else Text(nothing),
        *(Text(f"alert: {each}", "red") for each in alerts),
    )


@contextmanager
def prometheus(url: str | None, cluster: Callable[[], Cluster]) -> Generator[Query]:
    """Yield a function that runs a query, at the URL, or in the cluster without one."""
    if url:
        if not target.is_http(url):
            raise CommandError(f"--prometheus {url!r} is not a URL; write one such as http://localhost:9090")
        with _client(url.rstrip("/")) as client:
            yield partial(_ask, client)
        return
    with cluster().forwarded(names.PLATFORM, SERVICE, PORT) as address, _client(address) as client:
        yield partial(_ask, client)


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=SECONDS)


def _ask(client: httpx.Client, expr: str) -> top.Series:
    try:
        answer = client.get("/api/v1/query", params={"query": expr})
        answer.raise_for_status()
        return answer.json()["data"]["result"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise CommandError(
            f"{client.base_url} did not answer a query as Prometheus does: {error}; check the address, or write "
            "another with --prometheus URL",
            ExitCode.FAILED,
        ) from error
