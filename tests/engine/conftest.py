"""The real engine, and plugins that record: no cluster, no cloud."""

import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.projects import CHECKOUT, Engine


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The packages `aws` and `kubernetes` answer with plausible values and write down what they are asked."""
    home = tmp_path_factory.mktemp("pulumi-home")
    for package in ("aws", "kubernetes"):
        install_recorder(home / "plugins", package)
    return Engine(home, {})


def install_recorder(plugins: Path, package: str) -> None:
    """The engine with this folder of plugins ($PULUMI_HOME/plugins) takes the recorder for the plugin of `package`."""
    script = plugins / f"resource-{package}-v{version(f'pulumi-{package}')}" / f"pulumi-resource-{package}"
    script.parent.mkdir(parents=True)
    python = f'exec {shlex.quote(sys.executable)} -P -m tests.engine.recording {package} "$@"'
    script.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(CHECKOUT))} {python}\n")
    script.chmod(0o755)
