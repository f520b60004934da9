"""Commands about the model registry: models, promote, rollback, reproduce.

Each command determines the address of MLflow first, and then makes the slow imports.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import target
from cli.errors import CommandError
from cli.options import Context, DryRun, Json, Model, TrackingUri, Version

StageName = Literal["none", "staging", "production", "archived"]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Reason, for the registry.", show_default=False)]
By = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the person who makes the change, for the registry.",
        show_default="the user of this machine",
    ),
]
Commit = Annotated[
    str | None,
    typer.Option(
        metavar="SHA", help="Git commit of the change, for the registry.", show_default="the commit of the checkout"
    ),
]


def mlflow(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="NUMBER", help="Port of this machine; 0 for any free one.")
    ] = 5001,
    promoter: Annotated[
        bool, typer.Option("--promoter", help="Ask as the account that may move aliases and stages, and delete.")
    ] = False,
    context: Context = None,
) -> None:
    """Show MLflow's web page at http://localhost:PORT, through kubectl, until Ctrl-C.

    If MLflow asks who you are, each request gets a token that kubectl gets with your rights. The page then reads and
    searches; MLflow refuses what the account may not change.
    """
    from cli import mlflow_page

    mlflow_page.show(context, port, promoter=promoter)


def notebook(
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="NUMBER", help="Port of this machine.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    training: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Run JupyterLab in the cluster, in a pod with the image, node pool, GPUs and environment of this "
            "training job. It needs rights to create Jobs and to enter pods in ml-training.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        int | None,
        typer.Option(
            min=5,
            max=1440,
            metavar="NUMBER",
            help="Minutes after which the pod ends, with --training.",
            show_default="120",
        ),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End the pod, with --training.")] = False,
    dry_run: DryRun = False,
    context: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Use the MLflow of this context's cluster, through kubectl, unless --tracking-uri names one. If that "
            "MLflow asks for tokens, notebooks can only read there. With --training: the cluster of the pod.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Start JupyterLab in this folder or in a pod, and let the runs of notebooks go to MLflow, until Ctrl-C.

    A version that a notebook trains has the tag `notebook`. It passes its validation, and so its promotion and the gate
    of a release, only after a Job has registered a version with the same dataset, parameters and metrics.
    """
    if training is not None:
        from cli import pool_notebook

        if tracking_uri:
            raise CommandError("--training and --tracking-uri exclude each other: the pod uses the MLflow of its stack")
        if stop and dry_run:
            raise CommandError("--stop and --dry-run exclude each other: --dry-run prints the Job of a new notebook")
        raise typer.Exit(
            pool_notebook.show(training, context, minutes, port, browser=browser, stop=stop, dry_run=dry_run)
        )
    for option, given in (("--stop", stop), ("--dry-run", dry_run), ("--minutes", minutes)):
        if given:
            raise CommandError(f"{option} needs --training NAME")
    from cli import notebook as notebooks

    raise typer.Exit(notebooks.show(context, tracking_uri, port, browser=browser))


def models(
    model: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Models to show.", show_default="all models of the registry"),
    ] = None,
    *,
    served: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT@STACK",
            help="Versions that a stack serves: MODEL=VERSION@STACK, or FILE@STACK with a stack file or a JSON file of "
            "endpoints. May be repeated. Default with the lab's MLflow: Pulumi.local.yaml@local.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """List the versions of models.

    The table shows stage, metrics and validation of each version, and which stack serves it.
    """
    default, uri = target.served(tracking_uri), target.tracking(tracking_uri)
    from cli import models as registry

    registry.show(uri, model or (), default if served is None else served, json=json)


def promote(
    model: Model,
    version: Version,
    stage: Annotated[StageName, typer.Argument(metavar="STAGE", help="Stage to move to.", case_sensitive=False)],
    *,
    why: Why = "",
    by: By = None,
    commit: Commit = None,
    copy_to: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="Copy the version to this MLflow, and promote the copy there.", show_default=False
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
    dry_run: DryRun = False,
) -> None:
    """Move a version to another stage.

    A version comes to staging (alias @challenger) if it passed its validation. It comes from staging to production
    (alias @champion) if it passed its validation against the present champion. If a promotion is killed, the next one
    finishes it.
    """
    uri = target.tracking(tracking_uri)
    from cli import promotion

    promotion.promote(uri, model, version, stage, why=why, by=by, commit=commit, copy_to=copy_to, dry_run=dry_run)


def rollback(
    model: Model,
    *,
    why: Why = "",
    by: By = None,
    commit: Commit = None,
    tracking_uri: TrackingUri = None,
    dry_run: DryRun = False,
) -> None:
    """Make the previous champion the champion again."""
    uri = target.tracking(tracking_uri)
    from cli import promotion

    promotion.rollback(uri, model, why=why, by=by, commit=commit, dry_run=dry_run)


def reproduce(
    model: Model,
    version: Version,
    *,
    dataset: Annotated[
        str, typer.Option(metavar="URI", help="New address of the training data, if it was moved.", show_default=False)
    ] = "",
    tracking_uri: TrackingUri = None,
) -> None:
    """Train a version again, and compare the two models.

    The command uses the recorded commit, data and parameters, so run it in a git checkout. It registers nothing.
    """
    uri = target.tracking(tracking_uri)
    from cli import reproduction

    reproduction.reproduce(uri, model, version, dataset)


def image(
    model: Model,
    *,
    version: Annotated[int, typer.Option(metavar="N", help="Number of the version.", min=1, show_default=False)],
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="HOST/PATH",
            help="Registry to which the image is pushed, as HOST/PATH/serving. Default: the lab's node.",
            show_default=False,
        ),
    ] = None,
    sbom: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a CycloneDX bill of materials to this file.", show_default=False),
    ] = None,
    tracking_uri: TrackingUri = None,
    dry_run: DryRun = False,
) -> None:
    """Find or build the serving image with the packages of a version.

    If the standard image has them, the command says so. Otherwise it builds an image with the model server and these
    packages, unless one exists, and records its name with the version. Set `image: auto` for the endpoint.
    """
    uri = target.tracking(tracking_uri)
    from cli import image as images

    images.image(uri, model, version, registry=registry, sbom=sbom, dry_run=dry_run)
