"""Foundation for the `kind` in the stack file."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from components.foundation import Foundation
from infra.config.stack import Settings

MODULES: Mapping[str, str] = {"aws": "infra.foundations.aws", "local": "infra.foundations.local"}
"""Module with the function `build` of each kind; a stack imports only its own module, and so only its own SDK."""


def build(stack: Settings) -> Foundation:
    """Declare the foundation of a stack."""
    build_kind: Callable[[Settings, Any], Foundation] = import_module(MODULES[stack.foundation.kind]).build
    return build_kind(stack, stack.foundation)
