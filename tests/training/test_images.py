"""Which packages a command of the registry needs, so that it runs where it is meant to."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What a requirement is imported as, and what it brings along that is imported by its own name.
MODULES = {
    "scikit-learn": {"sklearn"},
    "mlflow-skinny": {"mlflow", "packaging", "pydantic"},
    "pandas": {"pandas", "numpy"},
    "boto3": {"boto3", "botocore"},
}


def third_party(module: str) -> set[str]:
    """Packages of others that a module of ours imports, itself or through ours."""
    seen, waiting, found = set[str](), [module], set[str]()
    while waiting:
        name = waiting.pop()
        path = ROOT / (name.replace(".", "/") + ".py")
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            waiting += imported
            found |= {one.split(".")[0] for one in imported}
    return found - set(sys.stdlib_module_names) - {"training"}


def installed(room: str) -> set[str]:
    """Packages that the image of a room has, by the name they are imported under."""
    lines = (ROOT / room / "requirements.in").read_text().split()
    return {name for line in lines for name in MODULES.get(line, {line.replace("-", "_")})}


def test_validation_runs_with_what_the_serving_image_has_and_a_reader_of_tables() -> None:
    assert third_party("training.validate") <= installed("serving") | {"pyarrow"}


def test_promotion_and_validation_run_in_the_training_image() -> None:
    for module in ("training.validate", "training.promote"):
        assert third_party(module) <= installed("training")
