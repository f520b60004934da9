"""Function behind `lab up --cluster-only`. It imports little, because it often has nothing to do."""

from rich.console import Console

from images.board import Board
from lab import paths
from lab.cluster import forward, operate
from lab.tools.install import install, install_packages


def bring_up(console: Console, mlflow_port: int | None, *, tools: tuple[str, ...] = ()) -> None:
    """Start the lab's own cluster, and install `tools` first (default: all)."""
    operate.check_machine()
    install_packages(console)
    install(console, tools)
    paths.state().mkdir(parents=True, exist_ok=True)
    forward.choose_tracking_port(mlflow_port)
    with Board(console).line("cluster") as line:
        started = operate.up(line.at)
        line.result = f"started {', '.join(started)}" if started else "was running"
