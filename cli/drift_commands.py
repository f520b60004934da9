"""Commands about the prediction log of an endpoint: drift, outcomes. Each imports what it needs when it runs."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli import target
from cli.errors import CommandError
from cli.options import Context, Endpoint, Json, Log, LoggedEndpoint, TrackingUri

Number = Annotated[
    int | None,
    typer.Option("--version", min=1, metavar="NUMBER", help="Version of the model.", show_default="the served one"),
]


class Engine(StrEnum):
    """Program that reads the prediction log."""

    LOCAL = "local"
    ATHENA = "athena"


def drift(
    endpoint: Endpoint,
    *,
    hours: Annotated[float, typer.Option(min=0.1, metavar="NUMBER", help="Length of the window in hours.")] = 24,
    end: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", help="End of the window in UTC, as in 2026-11-24T12:00:00.", show_default="now"),
    ] = None,
    version: Number = None,
    log: Log = None,
    logged: LoggedEndpoint = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML page to write.", show_default="no page")
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Look at the last whole window, which begins at a multiple of --hours in UTC, and record the result "
            "in MLflow: a run in the experiment `drift`, and tags of the version.",
        ),
    ] = False,
    engine: Annotated[
        Engine,
        typer.Option(help="Program that reads the log: this one, or Athena for a log that outgrows one machine."),
    ] = Engine.LOCAL,
    workgroup: Annotated[
        str | None,
        typer.Option(
            envvar="ATHENA_WORKGROUP",
            metavar="NAME",
            help="Workgroup of Athena, as the stack's output `athena` names it.",
            show_default=False,
        ),
    ] = None,
    context: Context = None,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> int:
    """Compare the requests of an endpoint with the training of the version that it serves.

    The command reads the prediction log. With --log and --version, ENDPOINT is the name of the model, and no cluster is
    needed. The exit code is 3 if the requests drifted.
    """
    uri = target.tracking(tracking_uri)
    from cli import drift as looks

    served = looks.served(endpoint, version, log, logged, context)
    to = looks.Output(out=out, json=json, record=record)
    until = end and end.replace(tzinfo=UTC)
    if engine is Engine.ATHENA and not workgroup:
        raise CommandError("--engine athena needs a workgroup; write --workgroup with the stack's output `athena`")
    chosen = workgroup if engine is Engine.ATHENA else None
    return looks.show(uri, served, hours=hours, end=until, to=to, workgroup=chosen)


def outcomes(
    endpoint: Endpoint,
    where: Annotated[
        str,
        typer.Argument(
            metavar="OUTCOMES",
            help="Folder with the outcomes, in CSV or Parquet: s3://BUCKET/PREFIX/ or a folder.",
            show_default=False,
        ),
    ],
    *,
    days: Annotated[float, typer.Option(min=0.1, metavar="NUMBER", help="Days of the prediction log to join.")] = 30,
    version: Number = None,
    log: Log = None,
    logged: LoggedEndpoint = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Parquet file to write, with the joined rows.", show_default="no file"),
    ] = None,
    context: Context = None,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Show how good the predictions of an endpoint were, from outcomes that are known by now.

    Outcomes have the columns request_id, row, label (or the name of the target) and at. They are joined to the
    prediction log by request_id and row.
    """
    uri = target.tracking(tracking_uri)
    from cli import drift as looks
    from cli import outcomes as observed

    served = looks.served(endpoint, version, log, logged, context)
    observed.show(uri, served, where, days=days, out=out, json=json)
