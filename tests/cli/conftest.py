"""The command line and the shared registry, under the names that pytest looks for."""

from tests.command import mlops
from tests.registry import registry

__all__ = ["mlops", "registry"]
