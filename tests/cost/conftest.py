"""The engine's double, under the name that pytest looks for."""

from tests.engine_double import pulumi

__all__ = ["pulumi"]
