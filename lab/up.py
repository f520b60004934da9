"""`lab up`: tools, a cluster, images, the platform on it, and what to do next."""

import json
import os
import shlex
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab import kubernetes_plugin, paths
from lab.board import Board
from lab.cluster import forward, layout, node
from lab.cluster.bring_up import bring_up
from lab.commands import Commands
from lab.engine import engine_environment
from lab.errors import LabError
from lab.flow import MODEL, Flow, Served
from lab.image_store import ImageStore
from lab.images import Images, Recipe
from lab.recovery import checkpoint
from lab.stack import Stack
from lab.tools.install import install
from runs.cluster import Cluster
from runs.errors import RunsError

FORWARDS = ("mlops-platform service/mlflow 5000:5000", f"ml-serving service/{MODEL} 8080:80")
SHOWN_METRICS = ("accuracy", "f1", "roc_auc")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The cluster that is deployed to. `own` is the one that the lab made: its node takes images without a registry."""

    context: str
    own: bool

    def kubectl(self, *arguments: str) -> str:
        """Output of kubectl on this cluster; LabError with its error message when it fails."""
        return Commands().answer(["kubectl", "--context", self.context, *arguments])


def up(console: Console, *, context: str | None, registry: str | None, mlflow_port: int | None) -> None:
    """From whatever there is to a served prediction, on the lab's own cluster or on that of `context`."""
    commands, board = Commands(), Board(console)
    users, plugin = os.environ.get("KUBECONFIG"), kubernetes_plugin.find(console, engine_environment())
    tools = ("engine", "images", *(() if plugin else ("kubernetes-plugin",)))
    if context is None:
        bring_up(console, mlflow_port, tools=("cluster", *tools))
    else:
        install(console, tools)
    console.print(f"[dim]{plugin or kubernetes_plugin.use_built()}", highlight=False)
    os.environ.update(engine_environment())
    # A passphrase of the user's shell would take the place of the lab's.
    os.environ.pop("PULUMI_CONFIG_PASSPHRASE", None)
    target = target_of(context, users) if context else Target(context=layout.NAME, own=True)
    with _images(board, commands, target, registry) as (refs, wait_for_images):
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
    cluster, stack = Cluster(context=target.context), Stack(checkout=paths.CHECKOUT, say=board.console.print)
    with board.line(f"stack file {stack.file.name}"):
        stack.prepare()
        config = stack.config()
        check_context(config, target, deployed=bool(checkpoint().get("resources")))
        stack.set(values(config, target, refs, _commit(commands)))
        check_nodes(config, cluster)
    return Flow(
        board=board, stack=stack, cluster=cluster, kubectl=target.kubectl, logs=paths.logs(),
        wait_for_images=wait_for_images,
    ).up()  # fmt: skip


@contextmanager
def _images(
    board: Board, commands: Commands, target: Target, registry: str | None
) -> Generator[tuple[Mapping[Recipe, str], Callable[[], object]]]:
    """References that the cluster can pull or has already; of the late ones, once the function has returned."""
    if not target.own and registry is None:
        raise LabError(
            f"Context {target.context} is not the lab's own cluster, so its nodes get images from a registry: say which"
            " with --registry HOST/PATH (`buildah login HOST` first, if it asks who you are)."
        )
    images = Images(
        checkout=paths.CHECKOUT, store=ImageStore(paths.cache() / "buildah", commands), commands=commands, board=board,
        logs=paths.logs(), gateway=paths.binaries() / "versitygw",
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
    """The commit of the checkout, marked when the training image holds changes on top; None outside of git."""
    status = ["git", "status", "--porcelain", "--", "training", "requirements.lock"]
    try:
        head = commands.answer(["git", "rev-parse", "HEAD"], cwd=paths.CHECKOUT).strip()
        changed = commands.answer(status, cwd=paths.CHECKOUT).strip()
    except LabError:
        return None
    return f"{head}-dirty" if changed else head


def _addresses(target: Target) -> Mapping[str, str]:
    """Where a browser on this machine finds the Services; in a foreign cluster, once the printed commands run."""
    return forward.urls() if target.own else {"mlflow": "http://localhost:5000", MODEL: "http://localhost:8080"}


def target_of(context: str, kubeconfig: str | None) -> Target:
    """A cluster of the user's kubeconfig; the lab's own one when that is what the context leads to."""
    os.environ.pop("KUBECONFIG", None)
    if kubeconfig:
        os.environ["KUBECONFIG"] = kubeconfig
    known = Commands().answer(["kubectl", "config", "get-contexts", "--output", "name"]).split()
    if context not in known:
        raise LabError(
            f"The kubeconfig has no context {context}; it has {', '.join(sorted(known)) or 'none'}."
            " The environment variable KUBECONFIG names another file."
        )
    foreign = Target(context=context, own=False)
    server = foreign.kubectl("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
    return Target(context=context, own=server == layout.API_SERVER)


def check_context(config: Mapping[str, Any], target: Target, *, deployed: bool) -> None:
    """LabError when the stack is deployed to another cluster: the engine would rebuild everything in this one."""
    where = config["foundation"]["context"]
    if deployed and where != target.context:
        raise LabError(
            f"Stack local is deployed to context {where}, not to {target.context}: go on there with"
            f" `lab up --context {where}`, or take it down first with `lab pulumi destroy`."
        )


def check_nodes(config: Mapping[str, Any], cluster: Cluster) -> None:
    """LabError when no node has the labels of a pool that a training run is for."""
    for name in {run["node_pool"] for run in config.get("training", {}).values()}:
        labels = config["foundation"]["node_pools"].get(name, {}).get("labels", {})
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        if labels and not cluster.items("nodes", selector):
            raise LabError(
                f"No node of context {cluster.context} has the labels of node pool {name} ({selector}): give them to"
                f" one (kubectl label node NAME {selector.replace(',', ' ')}), or write others into Pulumi.local.yaml."
            )


def values(
    config: Mapping[str, Any], target: Target, refs: Mapping[Recipe, str], commit: str | None
) -> dict[str, object]:
    """What the lab manages in the stack's file. The commit goes with the image that was built from it, and stays."""
    managed: dict[str, object] = {recipe.setting: ref for recipe, ref in refs.items()}
    if commit and config.get("images", {}).get("training") != managed["images.training"]:
        managed["images.training_commit"] = commit
    return {**managed, "foundation.context": target.context, **_allowed(config, target)}


def _allowed(config: Mapping[str, Any], target: Target) -> dict[str, object]:
    """MLflow answers a browser on this machine at the port that the lab forwards to it."""
    hosts = config.get("tracking", {}).get("allowed_hosts", [])
    port = forward.tracking_port() if target.own else forward.TRACKING_PORT
    missing = [host for host in (f"localhost:{port}", f"127.0.0.1:{port}") if host not in hosts]
    return {f"tracking.allowed_hosts[{place}]": host for place, host in enumerate(missing, start=len(hosts))}


def show(console: Console, served: Served, addresses: Mapping[str, str]) -> None:
    """Print what came of it, and where to go from here. Commands stand on one line each, whole, to be copied."""
    number, newest = served.version.number, served.newest
    metrics = served.version.metrics
    table = Table(show_header=False, box=box.SIMPLE, padding=(0, 1))
    table.add_row("MLflow", addresses["mlflow"])
    table.add_row("endpoint", f"{addresses[MODEL]}/invocations")
    table.add_row("model", f"{MODEL} version {number}" + (f" (newest: {newest})" if newest != number else ""))
    table.add_row("measured", ", ".join(f"{name} {metrics[name]:.3f}" for name in SHOWN_METRICS if name in metrics))
    table.add_row("predicted", f"{json.dumps(served.prediction.answer)} for the first customer of the dataset")
    console.print(table)
    request = json.dumps({"dataframe_records": [served.prediction.customer]}, separators=(",", ":"))
    other = newest if newest != number else number + 1
    commands = {
        "Ask it:": f"curl -s {addresses[MODEL]}/invocations -H 'Content-Type: application/json'"
        f" -d {shlex.quote(request)}",
        "Train the next version: change parameters in Pulumi.local.yaml, then:": "make up",
        "Serve another version:": f"lab pulumi config set --path 'mlops:endpoints.{MODEL}.version' {other}"
        " && lab pulumi up",
    }
    for what, command in commands.items():
        console.print(f"[bold]{what}[/bold]")
        console.print(f"  {escape(command)}", soft_wrap=True, highlight=False)
