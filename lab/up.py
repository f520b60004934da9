"""Function behind `lab up`: tools, cluster, images, the platform, and the next commands."""

import json
import os
import shlex
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from images.board import Board
from images.builder import PARTS, RECIPES, Images, Recipe
from images.commands import Commands
from images.errors import ProgramError
from images.store import ImageStore
from lab import kubernetes_plugin, paths
from lab.cluster import forward, layout, node
from lab.cluster.bring_up import bring_up
from lab.engine import engine_environment
from lab.errors import LabError
from lab.flow import MODEL, Flow, Served
from lab.recovery import checkpoint
from lab.stack import Stack
from lab.tools.install import install
from runs.cluster import Cluster
from runs.errors import RunsError

FORWARDS = ("mlops-platform service/mlflow 5000:5000", f"ml-serving service/{MODEL} 8080:80")
"""Namespace, Service and ports of each `kubectl port-forward` that another cluster needs."""
SHOWN_METRICS = ("accuracy", "f1", "roc_auc")
"""Metrics of the served version that `lab up` prints."""
MONITORING: Mapping[str, object] = {"kind": "cluster", "receiver": "webhook", "storage_gib": 2, "memory": "512Mi"}
"""Values of `mlops:monitoring` that `lab up --with monitoring` writes where the stack file has none."""
ALERT_RECEIVER = f"http://{layout.HOST}/alerts"
"""URL of the alerts' receiver, if the stack file has none: port 80 of this machine on the lab's link."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Cluster that is deployed to."""

    context: str
    """Context of the kubeconfig."""
    own: bool
    """Whether the cluster is the lab's own, whose node gets images without a registry."""

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl on the cluster and return its output. ProgramError with its error message if it fails."""
        return Commands().output(["kubectl", "--context", self.context, *arguments])


def up(
    console: Console, *, context: str | None, registry: str | None, mlflow_port: int | None, parts: Sequence[str]
) -> None:
    """Deploy up to a served prediction, on the lab's own cluster or on that of `context`.

    `parts` are keys of `images.builder.PARTS`: what the platform gets beside its default parts.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise LabError(f"--with {unknown[0]}: there is no such part; write one of {', '.join(PARTS)}")
    commands, board = Commands(), Board(console)
    users, plugin = os.environ.get("KUBECONFIG"), kubernetes_plugin.find(console, engine_environment())
    tools = ("engine", "images", *parts, *(() if plugin else ("kubernetes-plugin",)))
    if context is None:
        bring_up(console, mlflow_port, tools=("cluster", *tools))
    else:
        install(console, tools)
    console.print(f"[dim]{plugin or kubernetes_plugin.use_built()}", highlight=False)
    os.environ.update(engine_environment())
    # A passphrase in the user's shell would replace the lab's.
    os.environ.pop("PULUMI_CONFIG_PASSPHRASE", None)
    target = target_of(context, users) if context else Target(context=layout.NAME, own=True)
    with _images(board, commands, target, registry, parts) as (refs, wait_for_images):
        try:
            served = _deploy(board, commands, target, refs, wait_for_images)
        except RunsError as error:
            raise LabError(str(error)) from error
    show(board.console, served, _addresses(target))
    if not target.own:
        for service in FORWARDS:
            console.print(f"kubectl --context {target.context} port-forward --namespace {service}", highlight=False)


def _deploy(
    board: Board,
    commands: Commands,
    target: Target,
    refs: Mapping[Recipe, str],
    wait_for_images: Callable[[], object],
) -> Served:
    """Write the stack file, deploy the stack, and return the served version with a prediction."""
    cluster, stack = Cluster(context=target.context), Stack(checkout=paths.CHECKOUT, say=board.console.print)
    with board.line(f"stack file {stack.file.name}"):
        stack.prepare()
        config = stack.config()
        check_context(config, target, deployed=bool(checkpoint().get("resources")))
        receiver = {"alert_receiver": ALERT_RECEIVER} if is_monitored(refs) else {}
        stack.set(values(config, target, refs, _commit(commands)), receiver)
        check_nodes(config, cluster)
    return Flow(
        board=board, stack=stack, cluster=cluster, kubectl=target.kubectl, logs=paths.logs(),
        wait_for_images=wait_for_images,
    ).up()  # fmt: skip


@contextmanager
def _images(
    board: Board, commands: Commands, target: Target, registry: str | None, parts: Sequence[str]
) -> Generator[tuple[Mapping[Recipe, str], Callable[[], object]]]:
    """Yield references of images that the cluster has or can pull, and a function that waits for the late ones."""
    if not target.own and registry is None:
        raise LabError(
            f"Context {target.context} is not the lab's own cluster, so its nodes pull images from a registry: write"
            " --registry HOST/PATH (if the registry needs a password, run `buildah login HOST` first)."
        )
    recipes = [*RECIPES, *(recipe for part in parts for recipe in PARTS[part])]
    images = Images(
        checkout=paths.CHECKOUT, store=ImageStore(paths.cache() / "buildah", commands), commands=commands, board=board,
        logs=paths.logs(), programs=paths.binaries(), recipes=recipes,
    )  # fmt: skip
    ctr = node.ctr() if target.own else None
    with board.line("images"):
        refs = images.build()
        images.prune(list(refs.values()), ctr)
        if registry:
            refs = images.push(refs, registry)
        elif ctr:
            images.load([ref for recipe, ref in refs.items() if not recipe.late], ctr)
    with ThreadPoolExecutor(max_workers=1) as background:
        late = [ref for recipe, ref in refs.items() if recipe.late]
        rest = background.submit(images.load, late, ctr) if ctr and not registry else None
        try:
            yield refs, rest.result if rest else partial(bool)
        except BaseException:
            commands.stop()
            raise


def _commit(commands: Commands) -> str | None:
    """Return the commit of the checkout, with `-dirty` if the training image's files changed; None without git."""
    status = ["git", "status", "--porcelain", "--", "training", "images/uv.lock"]
    try:
        head = commands.output(["git", "rev-parse", "HEAD"], cwd=paths.CHECKOUT).strip()
        changed = commands.output(status, cwd=paths.CHECKOUT).strip()
    except ProgramError:
        return None
    return f"{head}-dirty" if changed else head


def _addresses(target: Target) -> Mapping[str, str]:
    """Return the URLs of the Services on this machine. On another cluster, the printed port-forwards must run."""
    return forward.urls() if target.own else {"mlflow": "http://localhost:5000", MODEL: "http://localhost:8080"}


def target_of(context: str, kubeconfig: str | None) -> Target:
    """Return the cluster of a context in the user's kubeconfig; it may be the lab's own."""
    os.environ.pop("KUBECONFIG", None)
    if kubeconfig:
        os.environ["KUBECONFIG"] = kubeconfig
    known = Commands().output(["kubectl", "config", "get-contexts", "--output", "name"]).split()
    if context not in known:
        raise LabError(
            f"The kubeconfig has no context {context}; write one of {', '.join(sorted(known)) or 'none'},"
            " or set the environment variable KUBECONFIG to another file."
        )
    foreign = Target(context=context, own=False)
    server = foreign.kubectl("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
    return Target(context=context, own=server == layout.API_SERVER)


def check_context(config: Mapping[str, Any], target: Target, *, deployed: bool) -> None:
    """Raise LabError if the stack is deployed to another cluster, because the engine would create everything again."""
    where = config["foundation"]["context"]
    if deployed and where != target.context:
        raise LabError(
            f"Stack local is deployed to context {where}, not to {target.context}: use"
            f" `lab up --context {where}`, or delete the stack first with `lab pulumi destroy`."
        )


def check_nodes(config: Mapping[str, Any], cluster: Cluster) -> None:
    """Raise LabError if no node has the labels of a node pool of a training run."""
    for name in {run["node_pool"] for run in config.get("training", {}).values()}:
        labels = config["foundation"]["node_pools"].get(name, {}).get("labels", {})
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        if labels and not cluster.items("nodes", selector):
            raise LabError(
                f"No node of context {cluster.context} has the labels of node pool {name} ({selector}): label a node"
                f" (kubectl label node NAME {selector.replace(',', ' ')}), or change the labels in Pulumi.local.yaml."
            )


def values(
    config: Mapping[str, Any], target: Target, refs: Mapping[Recipe, str], commit: str | None
) -> dict[str, object]:
    """Return the settings that the lab writes to the stack file. The commit changes only with the training image."""
    managed: dict[str, object] = {recipe.setting: ref for recipe, ref in refs.items()}
    if commit and config.get("images", {}).get("training") != managed["images.training"]:
        managed["images.training_commit"] = commit
    if is_monitored(refs):
        written = config.get("monitoring", {})
        managed |= {f"monitoring.{key}": value for key, value in MONITORING.items() if key not in written}
    return {**managed, "foundation.context": target.context, **_allowed(config, target)}


def is_monitored(refs: Mapping[Recipe, str]) -> bool:
    """Return whether the images are those of a platform with monitoring."""
    return not refs.keys().isdisjoint(PARTS["monitoring"])


def _allowed(config: Mapping[str, Any], target: Target) -> dict[str, object]:
    """Return settings that let MLflow accept a browser's requests at the forwarded port."""
    hosts = config.get("tracking", {}).get("allowed_hosts", [])
    port = forward.tracking_port() if target.own else forward.TRACKING_PORT
    missing = [host for host in (f"localhost:{port}", f"127.0.0.1:{port}") if host not in hosts]
    return {f"tracking.allowed_hosts[{place}]": host for place, host in enumerate(missing, start=len(hosts))}


def show(console: Console, served: Served, addresses: Mapping[str, str]) -> None:
    """Print the result and the next commands, each on one line so that it can be copied."""
    number, newest, metrics = served.version, served.newest, served.metrics
    table = Table(show_header=False, box=box.SIMPLE, padding=(0, 1))
    table.add_row("MLflow", addresses["mlflow"])
    table.add_row("endpoint", f"{addresses[MODEL]}/invocations")
    table.add_row("model", f"{MODEL} version {number}" + (f" (newest: {newest})" if newest != number else ""))
    table.add_row("measured", ", ".join(f"{name} {metrics[name]:.3f}" for name in SHOWN_METRICS if name in metrics))
    table.add_row("predicted", f"{json.dumps(served.prediction.value)} for the first customer of the dataset")
    console.print(table)
    request = json.dumps({"dataframe_records": [served.prediction.customer]}, separators=(",", ":"))
    other = newest if newest != number else number + 1
    commands = {
        "Send a request:": f"curl -s {addresses[MODEL]}/invocations -H 'Content-Type: application/json'"
        f" -d {shlex.quote(request)}",
        "Train the next version: change parameters in Pulumi.local.yaml, then:": "make up",
        "Serve another version:": f"lab pulumi config set --path 'mlops:endpoints.{MODEL}.version' {other}"
        " && lab pulumi up",
    }
    for what, command in commands.items():
        console.print(f"[bold]{what}[/bold]")
        console.print(f"  {escape(command)}", soft_wrap=True, highlight=False)
