"""Commands about monitoring: top, boards. Each command imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Context, Json

Prometheus = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Address of Prometheus. Default: a port-forward of kubectl to mlops-prometheus in the cluster.",
        show_default=False,
    ),
]


def top(
    *,
    prometheus: Prometheus = None,
    context: Context = None,
    every: Annotated[float, typer.Option(min=0.5, metavar="SECONDS", help="Time between two looks.")] = 2,
    once: Annotated[bool, typer.Option("--once", help="Print the table once.")] = False,
    json: Json = False,
) -> None:
    """Show the traffic of all endpoints: requests, failures, response times, shares of versions, pods, alerts.

    The numbers are those of the last minute. Without a terminal, the table is printed once.
    """
    from cli import watch

    watch.show(prometheus, context, every=every, once=once, json=json)


def boards(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder for one file of each dashboard.", show_default=False)
    ],
    *,
    draw: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT",
            help="Draw the dashboards as SVG pictures of this endpoint, with the values of Prometheus.",
            show_default="no picture",
        ),
    ] = None,
    minutes: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Minutes that the pictures show.")] = 60,
    prometheus: Prometheus = None,
    context: Context = None,
) -> None:
    """Write the dashboards as JSON files that Grafana imports, or draw them without Grafana."""
    if draw:
        from cli import watch

        watch.draw(prometheus, context, draw, minutes=minutes, folder=folder)
        return
    from monitoring.boards import texts

    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (folder / f"mlops-{name}.json").write_text(text)
        print(folder / f"mlops-{name}.json")
