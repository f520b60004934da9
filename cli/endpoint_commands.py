"""Commands about served models: predict, client. Each imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Context, Endpoint, Url


def predict(
    model: Endpoint,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Table of rows, in CSV or Parquet.", show_default=False)],
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="File for the rows with predictions; .parquet for Parquet.")
    ] = Path("predictions.csv"),
    keep: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Columns that are not sent and come back in the result, as one line of CSV: id,note.",
            show_default=False,
        ),
    ] = "",
    url: Url = None,
    context: Context = None,
    rows: Annotated[int, typer.Option(min=1, help="Most rows of one request.")] = 1000,
    in_flight: Annotated[int, typer.Option(min=1, max=64, help="Most requests at a time.")] = 4,
    patience: Annotated[float, typer.Option(min=0, help="Seconds for which one request is tried again.")] = 120,
) -> None:
    """Predict every row of a file with a served model.

    The file is checked before anything is sent. A command that was stopped goes on from where it was.
    """
    from cli import predictions

    predictions.predict_file(
        model, url, context, file=file, out=out, keep=keep, rows=rows, in_flight=in_flight, patience=patience
    )


def client(model: Endpoint, *, url: Url = None, context: Context = None) -> None:
    """Write a typed Python client of an endpoint to stdout.

    The client fits the version that is served now.
    """
    from cli import predictions

    predictions.write_client(model, url, context)
