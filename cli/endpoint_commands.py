"""Commands about served models: predict, client. Each command imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Context, Endpoint, Url


def predict(
    model: Endpoint,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Table of rows, in CSV or Parquet.", show_default=False)],
    *,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="File to write: the rows with their predictions, as CSV, or as Parquet if it ends in .parquet.",
        ),
    ] = Path("predictions.csv"),
    keep: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Columns that are copied to the result and not sent, as one line of CSV: id,note.",
            show_default=False,
        ),
    ] = "",
    url: Url = None,
    context: Context = None,
    rows: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Largest number of rows in one request.")] = 1000,
    in_flight: Annotated[
        int, typer.Option(min=1, max=64, metavar="NUMBER", help="Largest number of requests at a time.")
    ] = 4,
    patience: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time for which one failed request is retried.")
    ] = 120,
) -> None:
    """Predict every row of a file with a served model.

    The command checks the whole file before it sends anything. If it was stopped, run it again: it continues with the
    first row that has no prediction.
    """
    from cli import predictions

    predictions.predict_file(
        model, url, context, file=file, out=out, keep=keep, rows=rows, in_flight=in_flight, patience=patience
    )


def client(model: Endpoint, *, url: Url = None, context: Context = None) -> None:
    """Write a typed Python client of an endpoint to stdout.

    The classes of the client fit the version that is served now.
    """
    from cli import predictions

    predictions.write_client(model, url, context)
