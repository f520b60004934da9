"""Builds the image of a version that needs three more packages, beside the image of `mlflow models build-docker`.

Both are built by buildah from the lab's base image, in an empty store, with the packages' registries of this machine.
MLflow's Dockerfile comes from `mlflow models generate-dockerfile --env-manager local`; two lines are changed: its base
image, which only a registry of images has, is the lab's with pip, and pip may install into it. The default
`--env-manager virtualenv` also installs Java, compilers and another Python. The base image is built before the clock
starts. Sizes are of the whole image, with the base. Run it as `python -m bench.model_image`; it needs root and 15 GiB.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from images import model_image
from images.base import PACKAGES, BaseImage
from images.board import Board
from images.builder import MACHINE_FILES, Images
from images.commands import Commands
from images.store import ImageStore
from tests.model_server.pipelines import lines

Made = TypeVar("Made")
ROOT = Path(__file__).parent.parent
NEEDS = ("catboost==1.2.10", "onnxruntime==1.27.0", "statsmodels==0.15.0")
TITLE = "the version"
THEIRS = "lab.local/build-docker:1"
WITH_PIP = BaseImage(packages=(*PACKAGES, "python-is-python3", "python3-pip"))


def main() -> None:
    """Build both, and print a table."""
    with tempfile.TemporaryDirectory(dir=ROOT) as name:
        folder = Path(name)
        model = folder / "model"
        import_module("mlflow.sklearn").save_model(
            lines.LogisticRegression().fit([[0.0], [1.0]], [0, 1]), str(model), extra_pip_requirements=[*NEEDS]
        )
        rows = {"`mlops image`": _ours(model, folder), "`mlflow models build-docker`": _theirs(model, folder)}
    print("| image | seconds | the same needs again | size |")
    print("| --- | ---: | ---: | ---: |")
    for title, (first, again, size) in rows.items():
        print(f"| {title} | {first:.0f} | {again:.1f} | {size} |")


def _ours(model: Path, folder: Path) -> tuple[float, float, str]:
    """Return the seconds of a build and of a second one, and the image's size."""
    commands = Commands()
    store = ImageStore(folder / "ours", commands)
    images = Images(
        checkout=ROOT, store=store, commands=commands, board=Board(Console(stderr=True)), logs=folder / "logs",
        programs=folder,
    )  # fmt: skip
    images.logs.mkdir()
    _make(images.base, commands, store, folder)

    def build() -> str:
        lines = (model / "requirements.txt").read_text().splitlines()
        return model_image.build(model_image.resolve(lines, ROOT, TITLE), images)[0]

    first, ref = _timed(build)
    again, _ = _timed(build)
    return first, again, _size(store, ref)


def _theirs(model: Path, folder: Path) -> tuple[float, float, str]:
    """Return the seconds of a build and of a second one, and the image's size."""
    commands = Commands()
    store = ImageStore(folder / "theirs", commands)
    _make(WITH_PIP, commands, store, folder)
    context = folder / "context"
    words = ["models", "generate-dockerfile", "-m", str(model), "-d", str(context), "--env-manager", "local"]
    subprocess.run([sys.executable, "-m", "mlflow", *words], check=True, capture_output=True)
    file = context / "Dockerfile"
    base = f"FROM {WITH_PIP.ref}\nENV PIP_BREAK_SYSTEM_PACKAGES=1"
    file.write_text(re.sub(r"(?m)^FROM .*$", base, file.read_text()))
    volumes = [f"--volume={each.resolve()}:{each}:ro" for each in MACHINE_FILES if each.exists()]
    words = ["bud", "--layers", "--pull-never", "--tag", THEIRS, *volumes, str(context)]

    def build() -> None:
        commands.watch(store.buildah(*words), log=folder / "theirs.log", env=store.environment())

    first, _ = _timed(build)
    again, _ = _timed(build)
    return first, again, _size(store, THEIRS)


def _make(base: BaseImage, commands: Commands, store: ImageStore, folder: Path) -> None:
    store.root.mkdir()
    base.make(commands, store, log=folder / "base.log")


def _timed(work: Callable[[], Made]) -> tuple[float, Made]:
    began = time.monotonic()
    made = work()
    return time.monotonic() - began, made


def _size(store: ImageStore, ref: str) -> str:
    """Return the size of an image as buildah prints it."""
    listed: list[Mapping[str, Any]] = json.loads(
        store.commands.output(store.buildah("images", "--json"), env=store.environment())
    )
    return next(image["size"] for image in listed if ref in (image["names"] or ()))


if __name__ == "__main__":
    main()
