"""The command line of a laptop: `train churn --data file.csv N_ESTIMATORS=300`."""

import argparse
import getpass
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from training import project, train
from training.settings import local_store


def main() -> None:
    """Trains what the command line says."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Trains, and returns the exit code of `python -m training.train`."""
    parser = argparse.ArgumentParser(prog="train", description="Trains a project and registers the model.")
    parser.add_argument("project", help=f"one of {', '.join(project.names())}")
    parser.add_argument("--data", required=True, metavar="URI", help="the table: a path or s3://BUCKET/KEY")
    parser.add_argument("--model", help="the name to register it under (default: the project's)")
    parser.add_argument("--mlflow", metavar="URI", help="default: MLFLOW_TRACKING_URI, or mlflow.db in this folder")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="parameters of the project")
    options = parser.parse_intermixed_args(words)
    if wrong := [word for word in options.parameters if "=" not in word]:
        parser.error(f"{wrong[0]} is no parameter; write NAME=VALUE, as in N_ESTIMATORS=300")
    parameters = dict(word.split("=", 1) for word in options.parameters)
    try:
        model = options.model or project.load(options.project).model
    except project.ProjectError as error:
        parser.error(str(error))
    return train.main(
        project=options.project,
        dataset=options.data,
        model=model,
        experiment=model,
        parameters=json.dumps(parameters),
        requester=getpass.getuser(),
        **_commit(),
        **({"mlflow_tracking_uri": options.mlflow} if options.mlflow else local_store()),
    )


def _commit() -> dict[str, str]:
    """The commit of the code that runs, `-dirty` when it was changed since; nothing where there is no git."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git_commit": said.stdout.strip()}
