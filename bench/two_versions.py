"""Shows an experiment with two versions from its preview to the promotion, without a cluster and a cloud.

    python -m bench.two_versions [--folder FOLDER] [--customers N] [--pictures FOLDER]

The stack is `prod` of this repository. Engine, program, MLflow, training, validation, model servers, prediction log and
`mlops` are real. The plugins for AWS and Kubernetes are those of the tests, which record the requests, and
bench/experiment_demo.py plays the router. The lab's engine must be there: `lab tools --only engine`.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient

from bench import experiment_demo
from bench.experiment_demo import EXPERIMENT, KEY, MIRRORED, MODEL, PERCENT, ROLES, ROOT
from contract.exit_codes import ExitCode
from contract.stages import PASSED
from contract.tags import VALIDATION_STATUS
from lab.dataset import churn_table
from tests.engine.aws_stack import PASSWORD
from tests.engine.conftest import install_recorder
from tests.mlflow_server import Server
from tests.projects import Engine, Project

STACK, FILE = "prod", "Pulumi.prod.yaml"
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mlops-prod"
CHALLENGER, SHADOW = ROLES["challenger"], ROLES["shadow"]
WIDTH = "100"
"""Columns of the output, and of the pictures."""


@dataclass(frozen=True)
class Terminal:
    """Runs commands in a checkout, and prints each command with its output."""

    project: Project
    pictures: Path | None
    """Folder for pictures; None: none are drawn."""
    more: dict[str, str] = field(default_factory=dict[str, str])
    """Further environment variables of the commands."""

    def show(self, *command: str, picture: str = "") -> None:
        """Run a command and print its output; draw it if `picture` names a file. The run ends if it fails."""
        title = shlex.join(command)
        colors = {"FORCE_COLOR": "1"} if picture and self.pictures else {}
        environment = {**self.project.environment, **self.more, "COLUMNS": WIDTH, **colors}
        done = subprocess.run(command, cwd=self.project.folder, env=environment, stdout=subprocess.PIPE, check=False)
        print(f"$ {title}\n{done.stdout.decode()}", flush=True)
        if done.returncode != ExitCode.DONE:
            sys.exit(f"{title}: exit code {done.returncode}")
        if picture and self.pictures:
            draw = [sys.executable, str(ROOT / "docs/terminal_picture.py"), title]
            drawn = subprocess.run(draw, input=done.stdout, stdout=subprocess.PIPE, check=True)
            (self.pictures / picture).write_bytes(drawn.stdout)


@contextmanager
def registry(folder: Path) -> Generator[str]:
    """Train the versions if the folder has none, and yield the address of the MLflow that has them."""
    experiment_demo.train(folder, churn_table())
    server = Server(folder)
    server.start()
    try:
        yield server.uri
    finally:
        server.kill()


def validate(uri: str, version: int) -> None:
    """Validate a version as the validation Job of its training does, unless it has passed before.

    The latency has no limit, because this machine may be busy.
    """
    if MlflowClient(uri).get_model_version(MODEL, str(version)).tags.get(VALIDATION_STATUS) == PASSED:
        return
    command = [sys.executable, "-m", "training.validate", MODEL, str(version), "--tracking-uri", uri]
    limits = {**os.environ, "VALIDATION": json.dumps({"latency_ms": 60_000})}
    subprocess.run(command, cwd=ROOT, env=limits, check=True, stdout=subprocess.DEVNULL)


def checkout(scratch: Path, uri: str) -> Project:
    """Return a git checkout with the stack file, whose stack serves version 1."""
    for package in ("aws", "kubernetes"):
        install_recorder(scratch / "home" / "plugins", package)
    engine = Engine(scratch / "home", {"MLFLOW_TRACKING_URI": uri})
    project = engine.tracked_stack(scratch / "checkout", STACK, {"database_password": PASSWORD})
    change(project, "    serving: ", f"    envoy: {REGISTRY}/envoy:1.40.0\n    serving: ")
    run = project.up()
    if not run.succeeded:
        sys.exit(run.output)
    (project.folder / ".gitignore").write_text("*\n!Pulumi*.yaml\n")
    commit(project, "Serve version 1", "init", "--quiet", "--initial-branch", "main")
    return project


def change(project: Project, text: str, by: str) -> None:
    """Replace the only occurrence of a text in the stack file."""
    file = project.folder / FILE
    before, after = file.read_text().split(text)
    file.write_text(f"{before}{by}{after}")


def commit(project: Project, message: str, *first: str) -> None:
    """Commit the stack file, after the git command `first` if there is one."""
    author: Mapping[str, str] = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "ada"), ("EMAIL", "ada@example.com"))
    }
    for words in (first, ("add", "--all"), ("commit", "--quiet", "--message", message)):
        if words:
            subprocess.run(["git", *words], cwd=project.folder, env={**os.environ, **author}, check=True)


def story(folder: Path, scratch: Path, customers: int, pictures: Path | None) -> None:
    """Print the commands of an experiment and their output."""
    with registry(folder) as uri:
        validate(uri, ROLES["champion"])
        project = checkout(scratch, uri)
        for version in (CHALLENGER, SHADOW):
            validate(uri, version)
        terminal = Terminal(project, pictures)
        change(
            project,
            "      version: 1\n",
            "      version: 1\n"
            f"      challenger: {{version: {CHALLENGER}, percent: {PERCENT}, key: {KEY}, experiment: {EXPERIMENT}}}\n"
            f"      shadow: {{version: {SHADOW}, percent: {MIRRORED}}}\n",
        )
        terminal.show("git", "diff", "--unified=1")
        preview = ("mlops", "preview", "--stack", STACK, "--base", "main")
        terminal.show(*preview, picture="experiment-preview.svg")
        if not (run := project.up()).succeeded:
            sys.exit(run.output)
        commit(project, "Try version 2 on half of the customers")
        with experiment_demo.run(folder, customers) as traffic:
            terminal.more.update(traffic.environment)
            shutil.copy(traffic.outcomes, project.folder / "outcomes.csv")
            compare = ("mlops", "compare", MODEL, "--stack", STACK, "--log", traffic.log)
            terminal.show(*compare, "--outcomes", "outcomes.csv", "--by", "contract", picture="compare.svg")
        terminal.show("mlops", "release", MODEL, str(CHALLENGER), "--stack", STACK, picture="experiment-promotion.svg")
        terminal.show(*preview, picture="promotion-preview.svg")


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keeps models, log and outcomes; its models are used again")
    parser.add_argument("--customers", type=int, default=3500, metavar="N", help="customers that call (default: 3500)")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="folder for pictures of the output, in SVG")
    options = parser.parse_args()
    pictures: Path | None = options.pictures and options.pictures.resolve()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = options.folder.resolve() if options.folder else scratch
        folder.mkdir(parents=True, exist_ok=True)
        story(folder, scratch, options.customers, pictures)


if __name__ == "__main__":
    main()
