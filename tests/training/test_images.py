"""The images have all packages that their code imports."""

import ast
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Modules of a requirement, and packages that it installs and that are imported by their own name.
MODULES = {
    "scikit-learn": {"sklearn"},
    "mlflow-skinny": {"mlflow", "packaging", "pydantic"},
    "pandas": {"pandas", "numpy"},
    "boto3": {"boto3", "botocore"},
}


def third_party(module: str) -> set[str]:
    """Return the third-party packages that a module imports, directly or through modules of this project."""
    assert (ROOT / (module.replace(".", "/") + ".py")).is_file()
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
    return found - set(sys.stdlib_module_names) - {"contract", "onnx_estimators", "training"}


def installed(room: str) -> set[str]:
    """Return the import names of the packages in a room's requirements.in."""
    lines = (ROOT / room / "requirements.in").read_text().split()
    return {name for line in lines for name in MODULES.get(line, {line.replace("-", "_")})}


def reachable(room: str) -> set[str]:
    """Return the names of all packages in a room's image, with their dependencies."""
    waiting, found = (ROOT / room / "requirements.in").read_text().split(), set[str]()
    while waiting:
        needed = Requirement(waiting.pop())
        name = canonicalize_name(needed.name)
        if name in found or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += metadata.requires(name) or []
    return found


def test_all_that_validation_imports_is_in_the_serving_image() -> None:
    assert third_party("training.validate") <= installed("model_server")
    for file in (ROOT / "training" / "projects").glob("*.py"):
        assert third_party(f"training.projects.{file.stem}") <= installed("model_server")


@pytest.mark.long
def test_validation_starts_where_there_is_nothing_but_the_packages_of_the_serving_image(tmp_path: Path) -> None:
    """Imports made by third-party packages are visible only at run time."""
    for package in ("contract", "onnx_estimators", "training"):
        shutil.copytree(ROOT / package, tmp_path / package)
    there = reachable("model_server")
    known = metadata.packages_distributions()
    hidden = sorted(name for name, owners in known.items() if not {canonicalize_name(each) for each in owners} & there)
    assert {"matplotlib", "rich", "pulumi"} <= set(hidden)
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden})); import training.validate as validate"
    projects = [f"training.projects.{file.stem}" for file in (tmp_path / "training" / "projects").glob("[a-z]*.py")]
    code += f"; import {', '.join(projects)}; print(validate.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "training" / "validate.py")


def test_all_that_the_code_of_the_training_image_imports_is_in_it() -> None:
    for file in (ROOT / "training").rglob("*.py"):
        assert third_party(".".join(file.relative_to(ROOT).with_suffix("").parts)) <= installed("training"), file
