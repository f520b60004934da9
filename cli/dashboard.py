"""Function behind `mlops dashboard`: a dashboard in the Grafana that exists, or drawn from Prometheus without one."""

import json
import os
import re
import sys
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx

from cli import target, watch
from cli.errors import CommandError
from contract.exit_codes import ExitCode
from monitoring import boards
from monitoring.spec import SERVERS
from runs.cluster import Cluster
from runs.errors import ClusterError

CHART = "app.kubernetes.io/name=grafana"
"""Label of the Service of Grafana's chart, also inside of kube-prometheus-stack."""
TOKEN = "GRAFANA_TOKEN"
"""Environment variable with the token of a service account of Grafana that may write dashboards."""
SECONDS = 30
"""Timeout of one request to Grafana in seconds."""
Open = Callable[[str], None]


def show(
    name: str,
    endpoint: str | None,
    *,
    grafana: str | None,
    prometheus: str | None,
    context: str | None,
    print_url: bool,
) -> None:
    """Open a dashboard: in the Grafana at the URL, in that of the cluster, or else drawn from Prometheus.

    A port-forward to a Grafana in the cluster stays open until Ctrl-C.

    Raises:
        CommandError: an argument is wrong, or the port-forward has ended.
    """
    _check(name)
    browse: Open = _print if print_url else _browse
    if grafana:
        browse(address(grafana, name, endpoint))
        return
    if not prometheus:
        _forward(target.cluster(context), lambda grafana: browse(address(grafana, name, endpoint)))
    file = _drawn(name, endpoint, prometheus, context)
    browse(file.as_uri())


def upload(grafana: str | None) -> None:
    """Write all dashboards into a Grafana by its API, over those of an earlier upload; print their addresses."""
    if not grafana:
        raise CommandError("--upload needs the address of a Grafana; write --grafana URL")
    _check_url(grafana)
    token = os.environ.get(TOKEN)
    if not token:
        raise CommandError(
            f"{TOKEN} is not set, and Grafana accepts dashboards only with a token; write the token of a service "
            "account with the role Editor into this environment variable"
        )
    if not re.fullmatch(r"[!-~]+", token):
        raise CommandError(
            f"{TOKEN} has a character that no token has, such as a space, a line break or a letter outside ASCII; "
            "write the token alone into this environment variable"
        )
    for name, text in boards.texts().items():
        wanted = {"dashboard": json.loads(text), "overwrite": True, "message": "mlops dashboard --upload"}
        try:
            response = httpx.post(
                f"{grafana.rstrip('/')}/api/dashboards/db",
                json=wanted,
                headers={"Authorization": f"Bearer {token}"},
                timeout=SECONDS,
            )
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise CommandError(
                f"{grafana} did not accept the dashboard {name}: {error}; check the address, and that {TOKEN} has a "
                "valid token of a service account with the role Editor",
                ExitCode.FAILED,
            ) from error
        print(address(grafana, name, None))


def address(grafana: str, name: str, endpoint: str | None) -> str:
    """Return the URL of a dashboard in a Grafana; `endpoint` is the value of its variable."""
    _check_url(grafana)
    chosen = f"?var-endpoint={quote(endpoint)}" if endpoint and boards.BOARDS[name].of_endpoint else ""
    return f"{grafana.rstrip('/')}/d/{boards.uid(name)}{chosen}"


def _check(name: str) -> None:
    if name not in boards.BOARDS:
        raise CommandError(f"there is no dashboard {name!r}; write one of {', '.join(boards.BOARDS)}")


def _check_url(grafana: str) -> None:
    if not target.is_http(grafana):
        raise CommandError(f"--grafana {grafana!r} is not a URL; write one such as https://grafana.example.com")


def _forward(cluster: Cluster, browse: Open) -> None:
    """Open the cluster's Grafana through a port-forward, until Ctrl-C. Return if there is none that you can reach."""
    try:
        services = cluster.read("get", "services", "--all-namespaces", "--selector", CHART)["items"]
        if not services:
            return
        metadata, ports = services[0]["metadata"], services[0]["spec"]["ports"]
        with cluster.tunnel(metadata["namespace"], metadata["name"], ports[0]["port"]) as (grafana, process):
            browse(grafana)
            print("stop with Ctrl-C", file=sys.stderr)
            process.communicate()
    except ClusterError as error:
        print(f"no Grafana in the cluster can be reached: {error}", file=sys.stderr)
        return
    raise CommandError("the port-forward to Grafana has ended; run the command again", ExitCode.FAILED)


def _drawn(name: str, endpoint: str | None, prometheus: str | None, context: str | None) -> Path:
    """Draw the dashboard into a temporary file, and return its path."""
    chosen = endpoint or (_only_endpoint(prometheus, context) if boards.BOARDS[name].of_endpoint else "")
    folder = Path(tempfile.mkdtemp(prefix="mlops-dashboard-"))
    for line in watch.draw(prometheus, context, chosen, minutes=60, folder=folder, chosen=[name]):
        print(line, file=sys.stderr)
    return folder / f"{boards.uid(name)}.svg"


def _only_endpoint(prometheus: str | None, context: str | None) -> str:
    with watch.prometheus(prometheus, lambda: target.cluster(context)) as query:
        found = sorted(each["metric"]["endpoint"] for each in query(f'group by (endpoint) (up{{job="{SERVERS}"}})'))
    if len(found) != 1:
        raise CommandError(
            f"the dashboard shows one endpoint, and Prometheus knows {', '.join(found) or 'none'}; "
            "write --endpoint NAME"
        )
    return found[0]


def _print(url: str) -> None:
    print(url, flush=True)


def _browse(url: str) -> None:
    _print(url)
    webbrowser.open(url)
