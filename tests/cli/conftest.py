"""Fixtures of the command line and of the shared registry."""

from tests.command import mlops
from tests.engine_double import pulumi
from tests.registry import registry

__all__ = ["mlops", "pulumi", "registry"]
