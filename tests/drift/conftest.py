"""Fixture of a registry with two trained versions."""

from tests.registry import registry

__all__ = ["registry"]
