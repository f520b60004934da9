"""The command line of clients: `make predict` and `make client`, against a URL or through kubectl."""

import asyncio
import re
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from client.columns import Takes, read
from client.endpoint import Direct, Endpoint, Way
from client.errors import EndpointError, InputError
from client.fit import names_in
from client.generate import source
from client.predict import Done, Order, Watch, predict
from client.tunnel import Tunnel
from components import names
from runs.cluster import Cluster
from runs.errors import RunsError

INTERRUPTED = 130
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
Model = Annotated[str, typer.Argument(help="The endpoint, as under mlops:endpoints.", show_default=False)]
Url = Annotated[str | None, typer.Option(help="Of the endpoint; else it is reached by kubectl.", show_default=False)]
Context = Annotated[
    str | None, typer.Option(help="Of the kubeconfig; its current one unless told.", show_default=False)
]


@app.callback()
def root() -> None:
    """Asks served models."""


@app.command(name="predict")
def predict_(
    model: Model,
    file: Annotated[Path, typer.Argument(help="CSV or Parquet.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The same rows with predictions; .parquet for Parquet.")] = Path(
        "predictions.csv"
    ),
    *,
    url: Url = None,
    context: Context = None,
    keep: Annotated[
        str,
        typer.Option(help="Columns for the result alone, as one line of CSV: a name with a comma in double quotes."),
    ] = "",
    rows: Annotated[int, typer.Option(min=1, help="Most rows of a request.")] = Order.rows,
    in_flight: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = Order.in_flight,
    patience: Annotated[float, typer.Option(min=0, help="Seconds that a request is tried again.")] = Order.patience,
) -> None:
    """Predict every row of a file.

    0: done; 2: the file or a row does not fit; 1: the endpoint does not answer; 130: stopped by Ctrl-C.
    """
    if out.absolute() == file.absolute():
        raise InputError(f"{out} is the file that is read; name another one for the result, as in OUT=predictions.csv")
    order = Order(file=file, out=out, keep=names_in(keep), rows=rows, in_flight=in_flight, patience=patience)
    start, so_far = time.monotonic(), "no row is"

    def count(answered: int, rows: int) -> None:
        nonlocal so_far
        so_far = f"{answered:,} of {rows:,} rows are"
        watch(answered, rows)

    try:
        with _way(model, url, context) as way, _progress() as watch:
            done = predict(order, way, url or model, count)
    except KeyboardInterrupt:  # left alone, typer would end without a word
        kept = f"{so_far} answered and kept in {out}.part"
        print(f"client: stopped; {kept}; the same command goes on from there", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print(_summary(done, order, time.monotonic() - start))


@app.command(name="generate")
def generate_(model: Model, *, url: Url = None, context: Context = None) -> None:
    """Write a typed Python client of the version that is served now, to stdout."""
    with _way(model, url, context) as way:
        takes = asyncio.run(_takes(way, url or model))
    address = _checked(url) if url else names.endpoint_url(model)
    variable = f"{re.sub(r'[^A-Z0-9]+', '_', model.upper()) or 'MODEL'}_URL"
    sys.stdout.write(source(takes, address, variable=variable, in_cluster=not url))
    if not url:
        print(
            f"client: it asks {address}, which answers inside the cluster alone; elsewhere set {variable}, or make the "
            "client again with URL=https://..., the endpoint's address outside (pulumi stack output outside)",
            file=sys.stderr,
        )


async def _takes(way: Way, name: str) -> Takes:
    async with httpx.AsyncClient() as http:
        return read(await Endpoint(http=http, way=way, name=name, patience=Order.patience).schema())


@contextmanager
def _way(model: str, url: str | None, context: str | None) -> Generator[Way]:
    if url:
        yield Direct(_checked(url))
        return
    if not model:
        raise InputError("which endpoint? write MODEL=churn-predictor, as under mlops:endpoints")
    with Tunnel(Cluster(context=context), model) as tunnel:
        yield tunnel


def _checked(url: str) -> str:
    """Without a path that is written by habit."""
    if not url.startswith(("http://", "https://")):
        raise InputError(f"--url {url} is no address; write it as in http://localhost:8080")
    return url.rstrip("/").removesuffix("/invocations")


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


def main() -> None:
    """Entry point of `client`."""
    # A script that starts it in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app(prog_name="client")
    except (InputError, EndpointError, RunsError) as error:
        for line in str(error).splitlines():
            print(f"client: {line}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
