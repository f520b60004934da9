"""The shared registry, under the name that pytest looks for."""

from tests.registry import registry

__all__ = ["registry"]
