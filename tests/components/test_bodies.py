"""Length of the components' constructors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LONGEST_BODY = 60
COMPONENTS = Path(__file__).parent.parent.parent / "components"


def bodies() -> Iterator[tuple[str, int]]:
    """Yield each component with the number of lines of its constructor."""
    for file in sorted(COMPONENTS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and any("ComponentResource" in ast.unparse(base) for base in node.bases):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                        yield node.name, (part.end_lineno or 0) - part.lineno + 1


@pytest.mark.parametrize(("component", "lines"), list(bodies()))
def test_the_body_of_a_component_fits_on_a_screen(component: str, lines: int) -> None:
    assert lines <= LONGEST_BODY, component
