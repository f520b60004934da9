"""Commands about training runs: train, runs, follow, validate. Each imports what it needs when it runs."""

from typing import Annotated

import typer

from cli.errors import CommandError
from cli.options import Context, DryRun, Json, Model, Version

Values = Annotated[
    list[str] | None, typer.Argument(metavar="PARAMETER=VALUE", help="Parameters of the run.", show_default=False)
]


def train(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A training job, a key of mlops:training; with --data a model project.",
            show_default=False,
        ),
    ],
    values: Values = None,
    *,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Train on this machine, from this table: a path or s3://BUCKET/KEY in CSV or Parquet.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --data: name to register under.", show_default="the project's"),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="With --data: address of MLflow. Default: MLFLOW_TRACKING_URI, or mlflow.db here without it.",
            show_default=False,
        ),
    ] = None,
    context: Context = None,
    dry_run: DryRun = False,
    validate: Annotated[bool, typer.Option(help="Validate the registered version at once.")] = True,
    json: Json = False,
) -> None:
    """Train a model, register it as a version, and validate it.

    In the cluster, a Job runs the training job of the stack file with the given values changed. The command shows the
    log until the Job ends, and then validates the registered version.

    With --data, the model project is trained on this machine and not validated.
    """
    if data is not None:
        if context or dry_run or not validate:
            raise CommandError(
                "--data trains on this machine, and --context, --dry-run and --no-validate are for a cluster; "
                "leave out one or the other"
            )
        from cli import laptop

        raise typer.Exit(laptop.train(name, values or (), data, model=model, uri=tracking_uri, json=json))
    if model or tracking_uri:
        raise CommandError("--model and --tracking-uri need --data; in a cluster the stack file declares both")
    from cli import jobs

    raise typer.Exit(jobs.train(name, values or (), context, dry_run=dry_run, validates=validate, json=json))


def runs(
    *,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show runs of this training job only.", show_default=False)
    ] = None,
    last: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Number of runs to show.")] = 20,
    context: Context = None,
    json: Json = False,
) -> None:
    """List the last training runs, with status, metrics and version.

    Runs whose Jobs are gone are listed too, with what MLflow and the events of the cluster know of them.
    """
    from cli import jobs

    jobs.show_runs(context, name, last, json=json)


def follow(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Name of the run, as `mlops runs` shows it.", show_default=False)
    ],
    *,
    context: Context = None,
) -> None:
    """Follow a run from the start of its log to its end. Ctrl-C leaves the run alone."""
    from cli import jobs

    raise typer.Exit(jobs.follow(run, context))


def validate(
    model: Model, version: Version, *, context: Context = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Check in the cluster whether a version may be promoted.

    A Job of the training job that made the version compares it with the champion, and records the result.
    """
    from cli import jobs

    raise typer.Exit(jobs.validate(model, version, context, dry_run=dry_run, json=json))
