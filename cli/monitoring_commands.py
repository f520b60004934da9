"""Commands about monitoring: top, dashboard, boards. Each command imports what it needs when it runs."""

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


def dashboard(
    board: Annotated[
        str, typer.Argument(metavar="BOARD", help="Name of the dashboard: endpoint, platform or training.")
    ] = "endpoint",
    *,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Endpoint that the dashboard shows.", show_default="Grafana's choice, or the only one"
        ),
    ] = None,
    grafana: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of Grafana; with Amazon Managed Grafana, that of `pulumi stack output grafana`. Default: a "
            "port-forward of kubectl to the Grafana of the cluster.",
            show_default=False,
        ),
    ] = None,
    print_url: Annotated[bool, typer.Option("--print-url", help="Print the address, and open no browser.")] = False,
    upload: Annotated[
        bool,
        typer.Option(
            "--upload",
            help="Write all dashboards into the Grafana of --grafana, with the token in GRAFANA_TOKEN; open nothing.",
        ),
    ] = False,
    prometheus: Prometheus = None,
    context: Context = None,
) -> None:
    """Open a dashboard in Grafana; without a Grafana, draw the last hour from Prometheus and open the picture.

    With --prometheus, the command looks for no Grafana. A port-forward stays open until Ctrl-C.
    """
    from cli import dashboard

    if upload:
        dashboard.upload(grafana)
        return
    dashboard.show(board, endpoint, grafana=grafana, prometheus=prometheus, context=context, print_url=print_url)


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

        for line in watch.draw(prometheus, context, draw, minutes=minutes, folder=folder):
            print(line)
        return
    from monitoring.boards import texts, uid

    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        file = folder / f"{uid(name)}.json"
        file.write_text(text)
        print(file)
