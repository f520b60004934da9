"""Functions behind `mlops predict` and `mlops client`: predictions for a file of rows, and typed clients."""

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
from client.columns import ModelSchema, read
from client.endpoint import Endpoint, Route
from client.fit import names_in
from client.generate import source
from client.predict import Done, PredictOptions, Watch, predict
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
    token: Path | None,
) -> None:
    """Write the rows of a file with their predictions, and print a summary.

    `keep` is one line of CSV with the columns that are not sent; the other arguments are those of `PredictOptions`.
    """
    if out.absolute() == file.absolute():
        raise CommandError(
            f"{out} is the file that is read, and the result would replace it; write another file with --out"
        )
    if out.exists() and not out.is_file():  # a device such as /dev/full would be replaced
        raise CommandError(f"--out {out} exists and is not a file, so it cannot be replaced; write another path")
    if not out.absolute().parent.is_dir():
        raise CommandError(
            f"--out {out} is in a folder that does not exist; create {out.parent}, or write another path"
        )
    options = PredictOptions(
        file=file, out=out, keep=names_in(keep), rows=rows, in_flight=in_flight, patience=patience, token=token
    )
    start, so_far = time.monotonic(), "no row is"

    def count(predicted: int, rows: int) -> None:
        nonlocal so_far
        so_far = f"{predicted:,} of {rows:,} rows are"
        watch(predicted, rows)

    try:
        with target.endpoint(model, url, context) as route, _progress() as watch:
            done = predict(options, route, url or model, count)
    except KeyboardInterrupt:
        kept = f"{so_far} predicted and kept in {out}.part"
        raise CommandError(f"stopped; {kept}; run the same command again to continue", ExitCode.INTERRUPTED) from None
    print(_summary(done, options, time.monotonic() - start))


def write_client(model: str, url: str | None, context: str | None, *, token: Path | None = None) -> None:
    """Write a typed Python client of the version that is served now to stdout."""
    with target.endpoint(model, url, context) as route:
        schema = asyncio.run(_model_schema(route, url or model, token))
    address = target.address(url) if url else f"http://{model}.{names.SERVING}"
    variable = f"{re.sub(r'[^A-Z0-9]+', '_', model.upper()) or 'MODEL'}_URL"
    sys.stdout.write(source(schema, address, variable=variable, in_cluster=not url))
    if not url:
        print(
            f"mlops: the client uses {address}, which works inside the cluster only; elsewhere set {variable}, or "
            "generate it again with --url https://... (`pulumi stack output outside` prints the address)",
            file=sys.stderr,
        )


async def _model_schema(route: Route, name: str, token: Path | None) -> ModelSchema:
    async with httpx.AsyncClient() as http:
        patience = PredictOptions.patience
        return read(await Endpoint(http=http, route=route, name=name, patience=patience, token=token).schema())


@contextmanager
def _progress() -> Generator[Watch]:
    """Show a progress bar on a terminal, and nothing elsewhere."""
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

        def watch(predicted: int, rows: int) -> None:
            now = time.monotonic()
            if not start:
                start.append((predicted, now))
            before, began = start[0]
            speed = f"{(predicted - before) / (now - began):,.0f} rows/s" if predicted > before else ""
            progress.update(task, completed=predicted, total=rows, speed=speed)

        yield watch


def _summary(done: Done, options: PredictOptions, seconds: float) -> str:
    new = done.rows - done.resumed
    before = f", {done.resumed:,} of them by an earlier run" if done.resumed else ""
    by = " and ".join(
        f"version {version or 'unknown'}" + (f" ({rows:,} rows)" if len(done.versions) > 1 else "")
        for version, rows in done.versions.items()
    )
    between = "; the version changed meanwhile" if len(done.versions) > 1 else ""
    return (
        f"{options.out}: {done.rows:,} rows predicted{before}, by {done.model} {by}{between}; "
        f"{seconds:.1f} s, {new / seconds:,.0f} rows/s"
    )
