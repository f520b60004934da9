"""Commands about training runs: train, runs, follow, validate. Each command imports what it needs when it runs."""

from typing import Annotated, Literal

import typer

from cli.errors import CommandError
from cli.options import Context, DryRun, Json

Values = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PARAMETER=VALUE", help="Values of parameters that differ from the stack file.", show_default=False
    ),
]


def train(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Training job, a key of mlops:training; with --data, a model project.",
            show_default=False,
        ),
    ],
    values: Values = None,
    *,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Train on this machine with this table: a path or s3://BUCKET/KEY, in CSV or Parquet.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="With --data: name of the model in the registry.", show_default="the project's"
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="With --data: address of MLflow. Default: MLFLOW_TRACKING_URI, or mlflow.db here without it.",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="NAME@DIGEST",
            help="Training image for this run instead of the declared one; for trainers, of the same repository.",
            show_default=False,
        ),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(metavar="SHA", help="With --image: git commit that it was built from.", show_default=False),
    ] = None,
    context: Context = None,
    dry_run: DryRun = False,
    validate: Annotated[bool, typer.Option(help="Validate the registered version after the run.")] = True,
    json: Json = False,
) -> None:
    """Train a model, register it as a version, and validate it.

    In the cluster, a Job runs the training job of the stack file with the given values. The command prints the log
    until the Job ends, and then validates the registered version.

    With --data, the model project is trained on this machine and not validated.
    """
    if data is not None:
        if image or commit or context or dry_run or not validate:
            raise CommandError(
                "--data trains on this machine, but --context, --dry-run, --no-validate, --image and --commit are for "
                "a cluster; leave out --data or the others"
            )
        from cli import laptop

        raise typer.Exit(laptop.train(name, values or (), data, model=model, uri=tracking_uri, json=json))
    if model or tracking_uri:
        raise CommandError(
            "--model and --tracking-uri need --data, because the stack file declares both for a cluster; add --data URI"
        )
    if commit and not image:
        raise CommandError("--commit names the code of --image, and the stack file declares the other's; add --image")
    from cli import jobs
    from runs.declared import Code

    code = Code(image=image, commit=commit) if image else None
    raise typer.Exit(jobs.train(name, values or (), context, code=code, dry_run=dry_run, validates=validate, json=json))


def new_project(
    table: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Table, in CSV or Parquet: a path or s3://BUCKET/KEY.", show_default=False),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the project.", show_default="that of the file")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column to predict. Default: one named target, label, class, y, outcome or response."
        ),
    ] = None,
    task: Annotated[
        Literal["binary", "multiclass", "regression"] | None,
        typer.Option(help="Task of the model. Default: by the values of the target."),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Hold out the latest rows by this column. Default: the only time column."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Hold out whole groups of this column. Default: the only ID that repeats."),
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column that is no feature; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a model project for a table.

    The command finds the kinds of the columns, the task, how rows are held out, and columns that give the target away.
    It writes training/projects/NAME.py, and prints what it decided. The file is yours to change.
    """
    from cli import new_project
    from training.new_project import Choices

    choices = Choices(
        target=target or "", task=task, time=time or "", group=group or "", leave_out=tuple(leave_out or ())
    )
    new_project.write(table, name or "", choices, json=json)


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

    The list includes runs whose Jobs are gone, as far as MLflow and the events of the cluster know them.
    """
    from cli import jobs

    jobs.show_runs(context, name, last, json=json)


def follow(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Name of the run, as `mlops runs` lists it.", show_default=False)
    ],
    *,
    context: Context = None,
) -> None:
    """Follow a run from the start of its log to its end.

    Ctrl-C ends the command and does not stop the run.
    """
    from cli import jobs

    raise typer.Exit(jobs.follow(run, context))


def validate(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Name of the model in the registry. Default: the model that --endpoint serves.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="VERSION",
            help="Number of the version. Default: the version that --endpoint serves.",
            min=1,
            show_default=False,
        ),
    ] = None,
    *,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Test this endpoint too, a key of mlops:endpoints that serves the version.",
            show_default=False,
        ),
    ] = None,
    context: Context = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Check in the cluster whether a version may be promoted.

    A Job in the cluster compares the version with the champion, and records the result in the registry. With
    --endpoint, it also sends requests to an endpoint that serves the version, for example a staging endpoint.
    """
    from cli import jobs

    raise typer.Exit(jobs.validate(model, version, context, endpoint=endpoint, dry_run=dry_run, json=json))
