"""Real engine with recording plugins, without a cluster or a cloud."""

import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.mlflow_double import Mlflow, serving
from tests.projects import CHECKOUT, Engine


@pytest.fixture(scope="session")
def any_mlflow() -> Iterator[Mlflow]:
    """MLflow in which every version exists and passed its validation."""
    with serving(Mlflow()) as made:
        yield made


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, any_mlflow: Mlflow) -> Engine:
    """Engine whose plugins `aws` and `kubernetes` record requests and return plausible values."""
    home = tmp_path_factory.mktemp("pulumi-home")
    for package in ("aws", "kubernetes"):
        install_recorder(home / "plugins", package)
    return Engine(home, {"MLFLOW_TRACKING_URI": any_mlflow.uri})


def install_recorder(plugins: Path, package: str) -> None:
    """Install the recorder as the plugin of `package` in a plugin folder ($PULUMI_HOME/plugins)."""
    script = plugins / f"resource-{package}-v{version(f'pulumi-{package}')}" / f"pulumi-resource-{package}"
    script.parent.mkdir(parents=True)
    python = f'exec {shlex.quote(sys.executable)} -P -m tests.engine.recording {package} "$@"'
    script.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(CHECKOUT))} {python}\n")
    script.chmod(0o755)
