"""The real engine, and plugins that record: no cluster, no cloud."""

import sys
from pathlib import Path

import pytest

from lab.providers import wrappers
from tests.projects import Engine


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The packages `aws` and `kubernetes` answer with plausible values and write down what they are asked."""
    home = tmp_path_factory.mktemp("pulumi-home")
    wrappers.install_recording(home / "plugins", Path(sys.executable))
    return Engine(home, {})
