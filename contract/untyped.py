"""Values of unknown type, as they are read from JSON and YAML."""

from collections.abc import Mapping
from typing import cast


def mapping(value: object) -> Mapping[str, object]:
    """Return the value if it is a mapping; an empty mapping otherwise."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
