"""Function behind `mlops image`: the serving image that has the packages of a model version."""

import json
import sys
import tempfile
from pathlib import Path

import yaml
from rich.console import Console

from cli.errors import CommandError, registry_errors
from contract.tags import SERVING_IMAGE
from images import model_image
from images.board import Board
from images.builder import SERVING, Images
from images.commands import Commands
from images.sbom import document
from images.store import ImageStore
from lab import paths
from lab.cluster import node
from model_preview import packages
from model_preview.packages import Fit
from training.registry import client as versions

STANDARD = "runs in the standard image"


def image(uri: str, model: str, number: int, *, registry: str | None, sbom: Path | None, dry_run: bool) -> None:
    """Print which image serves the version; build, publish and record one of its own if it needs other packages."""
    title = f"{model} version {number}"
    with registry_errors():
        client = versions.connect(uri)
        found = versions.version(client, model, number)
        with tempfile.TemporaryDirectory() as folder:
            lines, python = _needs(versions.download(client, uri, found, Path(folder)), title)
    if python and python != model_image.PYTHON:
        _say(
            f"{title} was logged with Python {python} and is served with {model_image.PYTHON}: functions in its "
            f"pickles may not load; a validation shows it, and Python {model_image.PYTHON} avoids it"
        )
    compared = packages.compare((), lines, packages.serving_image(paths.CHECKOUT / "requirements.lock"))
    lacking = [one for one in compared if one.fit in {Fit.MISSING, Fit.OTHER}]
    recorded = found.tags.get(SERVING_IMAGE)
    if not lacking:
        print(f"{title} {STANDARD}")
        if recorded and not dry_run:
            with registry_errors():
                client.delete_model_version_tag(model, str(number), SERVING_IMAGE)
        return
    listed = ", ".join(f"{one.name} {one.new} (the standard image has {one.image or 'none'})" for one in lacking)
    _say(f"{title} needs {listed}")
    resolved = model_image.resolve(lines, paths.CHECKOUT, title)
    for warning in resolved.warnings:
        _say(f"warning: {warning}; the image contains it, because {title} requires it")
    if sbom:
        sbom.write_text(json.dumps(document(f"serving image of {title}", resolved.text), indent=1) + "\n")
    if dry_run:
        print(f"{title} needs an image with {len(resolved.packages)} packages; nothing was built")
        return
    ref = _published(resolved, registry)
    with registry_errors():
        client.set_model_version_tag(model, str(number), SERVING_IMAGE, ref)
    print(f"{title} runs in {ref}")


def _needs(folder: Path, title: str) -> tuple[list[str], str]:
    """Return the lines of the version's requirements.txt, and the minor version of its Python (empty if unknown)."""
    file = folder / "requirements.txt"
    if not file.is_file():
        raise CommandError(
            f"{title} has no requirements.txt, so its packages are not known; log it with pip_requirements"
        )
    stored = yaml.safe_load((folder / "MLmodel").read_text())
    python = str(stored["flavors"].get("python_function", {}).get("python_version", ""))
    return file.read_text().splitlines(), ".".join(python.split(".")[:2])


def _published(resolved: model_image.Resolved, registry: str | None) -> str:
    """Build the image unless it exists, publish it to the registry or the lab's node, and return its reference."""
    commands, board = Commands(), Board(Console(stderr=True))
    images = Images(
        checkout=paths.CHECKOUT, store=ImageStore(paths.cache() / "buildah", commands), commands=commands, board=board,
        logs=paths.logs(), programs=paths.binaries(),
    )  # fmt: skip
    ref, is_new = model_image.build(resolved, images)
    _say(f"image {ref} for {model_image.ARCHITECTURE} {'is built' if is_new else 'exists already: nothing was built'}")
    if registry:
        return images.push({SERVING: ref}, registry)[SERVING]
    if paths.kubeconfig().exists():
        images.load([ref], node.ctr())
    return ref


def _say(line: str) -> None:
    print(line, file=sys.stderr)
