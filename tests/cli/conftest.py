"""Fixtures of the command line and of the shared registry."""

from tests.command import mlops
from tests.registry import registry

__all__ = ["mlops", "registry"]
