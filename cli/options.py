"""Options and arguments of several commands."""

from pathlib import Path
from typing import Annotated

import typer

Context = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Context of the kubeconfig. Default: the current one of KUBECONFIG, or the lab's cluster without it.",
        show_default=False,
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="Address of MLflow. Default: MLFLOW_TRACKING_URI, or the lab's MLflow without it.",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Address of the endpoint. Default: a port-forward of kubectl to the endpoint in the cluster.",
        show_default=False,
    ),
]
Token = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File with the token that the endpoint asks for; it is read again for each request.",
        show_default=False,
    ),
]
Stack = Annotated[
    str | None, typer.Option(metavar="NAME", help="Pulumi stack. Default: the selected one.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program; all other text goes to stderr.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model in the registry.", show_default=False)]
Version = Annotated[int, typer.Argument(metavar="VERSION", help="Number of the version.", min=1, show_default=False)]
Endpoint = Annotated[
    str, typer.Argument(metavar="ENDPOINT", help="Name of the endpoint, a key of mlops:endpoints.", show_default=False)
]
Log = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="Store with the folder `predictions`: s3://BUCKET or a folder; the address of `predictions` works too. "
        "Default: the endpoint's bucket, or that of the lab.",
        show_default=False,
    ),
]
LoggedEndpoint = Annotated[
    str,
    typer.Option(
        "--endpoint",
        metavar="NAME",
        help="Endpoint whose predictions are read. Needed if several endpoints serve the model, and the command asks "
        "neither a cluster nor a stack file.",
        show_default=False,
    ),
]
