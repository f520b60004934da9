"""`mlops image`: which image serves a version. tests/images/test_model_image.py resolves and builds."""

import os
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from cli.main import run
from tests.registry import MODEL, Registry

NAME = f"packaged-{os.getpid()}"


def registered(registry: Registry, folder: Path, *requirements: str, python: str = "3.11.7") -> str:
    """Register a version with these requirements, and return its number."""
    folder.mkdir()
    (folder / "MLmodel").write_text(f"flavors: {{python_function: {{python_version: {python}}}}}\n")
    if requirements:
        (folder / "requirements.txt").write_text("\n".join(requirements))
    client = MlflowClient(registry.uri)
    if not client.search_registered_models(f"name='{NAME}'"):
        client.create_registered_model(NAME)
    return str(client.create_model_version(NAME, str(folder)).version)


def image(registry: Registry, model: str, version: str) -> int:
    return run(["image", model, "--version", version, "--tracking-uri", registry.uri])


def test_a_version_whose_packages_the_standard_image_has_needs_no_other(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image(registry, MODEL, "1") == 0
    assert capsys.readouterr().out == f"{MODEL} version 1 runs in the standard image\n"


def test_the_record_of_an_image_goes_when_the_standard_image_has_the_packages(
    registry: Registry, tmp_path: Path
) -> None:
    number, client = registered(registry, tmp_path / "model", "numpy"), MlflowClient(registry.uri)
    client.set_model_version_tag(NAME, number, "serving_image", "lab.local/serving:own-1")
    assert image(registry, NAME, number) == 0
    assert "serving_image" not in client.get_model_version(NAME, number).tags


def test_a_version_of_another_python_is_served_with_a_warning(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = registered(registry, tmp_path / "model", "numpy", python="3.12.4")
    assert image(registry, NAME, number) == 0
    assert f"{NAME} version {number} was logged with Python 3.12 and is served with 3.11" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "has no requirements.txt, so its packages are not known"),
        (["no-such-thing==1", "./code"], "The line './code' in requirements.txt of"),
    ],
)
def test_a_version_without_a_list_of_packages_is_bad_input(
    registry: Registry, tmp_path: Path, lines: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = registered(registry, tmp_path / "model", *lines)
    assert image(registry, NAME, number) == 2
    assert said in capsys.readouterr().err
