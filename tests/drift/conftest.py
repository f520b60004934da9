"""Fixtures of the command line, and of a registry with two trained versions."""

from tests.command import mlops
from tests.registry import registry

__all__ = ["mlops", "registry"]
