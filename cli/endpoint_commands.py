"""Commands about served models: predict, client, compare. Each command imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from cli import target
from cli.options import Context, Endpoint, Json, Log, LoggedEndpoint, Token, TrackingUri, Url


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
    token: Token = None,
) -> None:
    """Predict every row of a file with a served model.

    The command checks the whole file before it sends anything. If it was stopped, run it again: it continues with the
    first row that has no prediction.
    """
    from cli import predictions

    predictions.predict_file(
        model,
        url,
        context,
        file=file,
        out=out,
        keep=keep,
        rows=rows,
        in_flight=in_flight,
        patience=patience,
        token=token,
    )


def client(model: Endpoint, *, url: Url = None, context: Context = None, token: Token = None) -> None:
    """Write a typed Python client of an endpoint to stdout.

    The classes of the client fit the version that is served now.
    """
    from cli import predictions

    predictions.write_client(model, url, context, token=token)


def compare(
    endpoint: Endpoint,
    *,
    log: Log = None,
    logged: LoggedEndpoint = "",
    stack: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Stack whose file declares the endpoint: its model, and the challenger's percent.",
            show_default=False,
        ),
    ] = None,
    percent: Annotated[
        float | None,
        typer.Option(min=0.01, max=99, metavar="NUMBER", help="Declared share of the challenger.", show_default=False),
    ] = None,
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the experiment. Default: the last one.", show_default=False)
    ] = "",
    outcomes: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="What really happened: CSV or Parquet with request_id, row, label and at. A file, a folder or a "
            "prefix.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Compare each value of this column too. May be repeated."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start, in UTC. Default: 28 days before the end.", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="End, in UTC. Default: now.", show_default=False)
    ] = None,
    prediction: Annotated[
        str, typer.Option(metavar="NAME", help="Predicted value, if the model has several.", show_default=False)
    ] = "",
    prometheus: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Prometheus that counts the errors of each arm.", show_default=False),
    ] = None,
    json: Json = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as a page of HTML too.", show_default=False)
    ] = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Write the report into MLflow too, and tag the challenger's version."),
    ] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Compare the versions of an endpoint: champion and challenger, or champion and shadow.

    The command reads the prediction log. It first tests whether the challenger got its share of the units; if not, it
    concludes nothing, and exits with 3. Its intervals stay valid however often you look.
    """
    uri = target.tracking(tracking_uri) if record else None
    from cli import comparison

    options = comparison.Options(
        log=log,
        endpoint=logged,
        stack=stack,
        experiment=experiment,
        percent=percent,
        outcomes=outcomes,
        since=since,
        until=until,
        by=by or (),
        prediction=prediction,
        prometheus=prometheus,
    )
    raise typer.Exit(comparison.show(endpoint, options, json=json, html=html, record=uri))
