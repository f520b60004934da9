"""Commands about the model registry: models, promote, rollback, reproduce.

Each finds its MLflow first, and then imports what takes seconds.
"""

from typing import Annotated, Literal

import typer

from cli import target
from cli.options import DryRun, Json, Model, TrackingUri, Version

StageName = Literal["none", "staging", "production", "archived"]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Reason, which the registry keeps.", show_default=False)]
By = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who asks, which the registry keeps.", show_default="the user of this machine"),
]
Commit = Annotated[
    str | None,
    typer.Option(metavar="SHA", help="Commit, which the registry keeps.", show_default="the commit of the checkout"),
]


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
            help="What a stack serves: MODEL=VERSION@STACK, or the path of a stack file or of a JSON file of endpoints "
            "as FILE@STACK. May be repeated. Default with the lab's MLflow: Pulumi.local.yaml@local.",
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
        typer.Option(metavar="URI", help="Copy the version to this MLflow, and promote it there.", show_default=False),
    ] = None,
    tracking_uri: TrackingUri = None,
    dry_run: DryRun = False,
) -> None:
    """Move a version to another stage.

    Staging (alias @challenger) takes a version that passed its validation. Production (alias @champion) takes a version
    from staging that passed its validation against the present champion. The next promotion finishes one that was
    killed.
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
        str, typer.Option(metavar="URI", help="Where the data is now, if it was moved.", show_default=False)
    ] = "",
    tracking_uri: TrackingUri = None,
) -> None:
    """Train a version again, and compare the two.

    The command takes the recorded commit, data and parameters. Run it in a checkout with git. Nothing is registered.
    """
    uri = target.tracking(tracking_uri)
    from cli import reproduction

    reproduction.reproduce(uri, model, version, dataset)
