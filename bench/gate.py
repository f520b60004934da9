"""Measures what the release gate adds to `pulumi preview`: a preview of one new version against one of another change.

Both previews change one Deployment of a deployed stack, in turns, with the real engine, the tests' recording plugin and
a double of MLflow on this machine. The other change is the memory of the endpoint, for which the gate asks nothing.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.engine.conftest import install_recorder
from tests.mlflow_double import Mlflow, serving
from tests.projects import Engine, Project
from tests.stacks import LOCAL, SECRETS


def deployed(engine: Engine, folder: Path, endpoints: int) -> Project:
    """Return a stack whose endpoints serve version 1."""
    stack = {
        **LOCAL,
        "quotas": {"serving": {"cpu": "9000", "memory": "9000Gi", "pods": 9000}},
        "endpoints": {f"model-{number}": {"version": 1} for number in range(endpoints)},
    }
    project = engine.our_program(folder, stack, SECRETS)
    run = project.up()
    if not run.succeeded:
        raise SystemExit(run.output)
    return project


def seconds(project: Project, key: str, value: str) -> float:
    """Return the wall time in seconds of a preview with another value of one key."""
    file = project.folder / "Pulumi.test.yaml"
    before = file.read_text()
    project.pulumi("config", "set", "--path", f"mlops:endpoints.model-0.{key}", value)
    began = time.perf_counter()
    run = project.preview()
    took = time.perf_counter() - began
    file.write_text(before)
    if run.changes != {"model-0": ["update"]}:
        raise SystemExit(run.output)
    return took


def measure(project: Project, repetitions: int) -> Iterator[str]:
    """Yield the cells of one row: medians in seconds of both previews, and their difference."""
    turns = [(seconds(project, "version", "2"), seconds(project, "memory", "2Gi")) for _ in range(repetitions)]
    release, other = (statistics.median(turn[which] for turn in turns) for which in (0, 1))
    yield from (f"{release:.2f}", f"{other:.2f}", f"{release - other:+.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, nargs="+", default=[1, 10, 100], metavar="N")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="previews for each median (default: 3)")
    options = parser.parse_args()
    table = Table("endpoints", "a release, s", "another change, s", "difference, s", title="pulumi preview")
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(Mlflow()) as mlflow,
        Console(stderr=True).status("") as status,
    ):
        home = Path(scratch) / "home"
        for package in ("aws", "kubernetes"):
            install_recorder(home / "plugins", package)
        engine = Engine(home, {"MLFLOW_TRACKING_URI": mlflow.uri})
        for endpoints in options.endpoints:
            status.update(f"{endpoints} endpoints")
            project = deployed(engine, Path(scratch) / f"stack-{endpoints}", endpoints)
            table.add_row(str(endpoints), *measure(project, options.repetitions))
    Console().print(table)


if __name__ == "__main__":
    main()
