"""Predictions for a file of rows, and typed clients: what `mlops predict` and `mlops client` do."""

import asyncio
import re
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli import target
from cli.errors import CommandError
from client.columns import Takes, read
from client.endpoint import Endpoint, Way
from client.fit import names_in
from client.generate import source
from client.predict import Done, Order, Watch, predict
from contract import names
from contract.exit_codes import ExitCode


def predict_file(
    model: str,
    url: str | None,
    context: str | None,
    *,
    file: Path,
    out: Path,
    keep: str,
    rows: int,
    in_flight: int,
    patience: float,
) -> None:
    """Write the rows of a file with their predictions, and print a summary.

    `keep` is one line of CSV with the columns that are not sent; the other arguments are those of Order.
    """
    if out.absolute() == file.absolute():
        raise CommandError(f"{out} is the file that is read; name another one for the result with --out")
    order = Order(file=file, out=out, keep=names_in(keep), rows=rows, in_flight=in_flight, patience=patience)
    start, so_far = time.monotonic(), "no row is"

    def count(answered: int, rows: int) -> None:
        nonlocal so_far
        so_far = f"{answered:,} of {rows:,} rows are"
        watch(answered, rows)

    try:
        with target.endpoint(model, url, context) as way, _progress() as watch:
            done = predict(order, way, url or model, count)
    except KeyboardInterrupt:
        kept = f"{so_far} answered and kept in {out}.part"
        raise CommandError(f"stopped; {kept}; the same command goes on from there", ExitCode.INTERRUPTED) from None
    print(_summary(done, order, time.monotonic() - start))


def write_client(model: str, url: str | None, context: str | None) -> None:
    """Write a typed Python client of the version that is served now to stdout."""
    with target.endpoint(model, url, context) as way:
        takes = asyncio.run(_takes(way, url or model))
    address = target.address(url) if url else f"http://{model}.{names.SERVING}"
    variable = f"{re.sub(r'[^A-Z0-9]+', '_', model.upper()) or 'MODEL'}_URL"
    sys.stdout.write(source(takes, address, variable=variable, in_cluster=not url))
    if not url:
        print(
            f"mlops: the client asks {address}, which answers inside the cluster alone; elsewhere set {variable}, "
            "or make it again with --url https://..., the endpoint's address outside (pulumi stack output outside)",
            file=sys.stderr,
        )


async def _takes(way: Way, name: str) -> Takes:
    async with httpx.AsyncClient() as http:
        return read(await Endpoint(http=http, way=way, name=name, patience=Order.patience).schema())


@contextmanager
def _progress() -> Generator[Watch]:
    """A bar in a terminal; nothing elsewhere."""
    shown = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows  {task.fields[speed]}  "),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*shown, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None, speed="")
        start: list[tuple[int, float]] = []

        def watch(answered: int, rows: int) -> None:
            now = time.monotonic()
            if not start:
                start.append((answered, now))
            before, began = start[0]
            speed = f"{(answered - before) / (now - began):,.0f} rows/s" if answered > before else ""
            progress.update(task, completed=answered, total=rows, speed=speed)

        yield watch


def _summary(done: Done, order: Order, seconds: float) -> str:
    new = done.rows - done.resumed
    before = f", {done.resumed:,} of them before" if done.resumed else ""
    by = " and ".join(
        f"version {version or 'unknown'}" + (f" ({rows:,} rows)" if len(done.versions) > 1 else "")
        for version, rows in done.versions.items()
    )
    between = "; the version changed on the way" if len(done.versions) > 1 else ""
    return (
        f"{order.out}: {done.rows:,} rows predicted{before}, by {done.model} {by}{between}; "
        f"{seconds:.1f} s, {new / seconds:,.0f} rows/s"
    )
