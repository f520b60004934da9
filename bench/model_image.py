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
from typing import Any

from rich.console import Console

from images import model_image
from images.base import PACKAGES, BaseImage
from images.board import Board
from images.builder import Images, machine_volumes
from images.commands import Commands
from images.store import ImageStore
from tests.model_server.pipelines import lines

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
        print("| image | seconds | the same needs again | size |")
        print("| --- | ---: | ---: | ---: |")
        for title, prepared in (("mlops image", _ours), ("mlflow models build-docker", _theirs)):
            store, build = prepared(model, folder)
            (first, ref), (again, _) = _timed(build), _timed(build)
            print(f"| `{title}` | {first:.0f} | {again:.1f} | {_size(store, ref)} |", flush=True)


def _ours(model: Path, folder: Path) -> tuple[ImageStore, Callable[[], str]]:
    """Return a store with the base image, and the function that builds the image and returns its reference."""
    commands = Commands()
    store = _store(BaseImage(), commands, folder / "ours")
    images = Images(
        checkout=ROOT, store=store, commands=commands, board=Board(Console(stderr=True)), logs=folder, programs=folder
    )
    needs = (model / "requirements.txt").read_text().splitlines()
    return store, lambda: model_image.build(model_image.resolve(needs, ROOT, TITLE), images)[0]


def _theirs(model: Path, folder: Path) -> tuple[ImageStore, Callable[[], str]]:
    """Return a store with the base image, and the function that builds the image and returns its reference."""
    commands = Commands()
    store = _store(WITH_PIP, commands, folder / "theirs")
    context = folder / "context"
    words = ["models", "generate-dockerfile", "-m", str(model), "-d", str(context), "--env-manager", "local"]
    subprocess.run([sys.executable, "-m", "mlflow", *words], check=True, capture_output=True)
    file = context / "Dockerfile"
    base = f"FROM {WITH_PIP.ref}\nENV PIP_BREAK_SYSTEM_PACKAGES=1"
    file.write_text(re.sub(r"(?m)^FROM .*$", base, file.read_text()))
    words = store.buildah("bud", "--layers", "--pull-never", "--tag", THEIRS, *machine_volumes(), str(context))

    def build() -> str:
        commands.watch(words, log=folder / "theirs.log", env=store.environment())
        return THEIRS

    return store, build


def _store(base: BaseImage, commands: Commands, root: Path) -> ImageStore:
    root.mkdir()
    store = ImageStore(root, commands)
    base.make(commands, store, log=root / "base.log")
    return store


def _timed(build: Callable[[], str]) -> tuple[float, str]:
    """Return the seconds of a build, and the image's reference."""
    began = time.monotonic()
    ref = build()
    return time.monotonic() - began, ref


def _size(store: ImageStore, ref: str) -> str:
    """Return the size of an image as buildah prints it."""
    listed: list[Mapping[str, Any]] = json.loads(
        store.commands.output(store.buildah("images", "--json"), env=store.environment())
    )
    return next(image["size"] for image in listed if ref in (image["names"] or ()))


if __name__ == "__main__":
    main()
