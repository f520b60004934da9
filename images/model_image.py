"""Serving images with the packages of a model version: the server's Dockerfile with a list of their own.

The list is what uv resolves from the server's own packages and the version's requirements.txt. It prefers the versions
of the standard image, so both images differ only where the version asks for it. The tag is a hash of the list, the
base image and the server's files, so versions with the same needs share one image.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from images.builder import OWN, SERVING, Images
from images.errors import ImageError, RequirementsError
from images.inputs import content_hash

SERVER = "model_server/requirements.in"
LOCK = "model_server/requirements.lock"
INPUTS = ("contract", "images/uv.lock", "model_server", "onnx_estimators")
"""Files and folders of the checkout that the Dockerfile needs."""
PYTHON = "3.11"
"""Python of the serving images."""
PLATFORM = "x86_64-manylinux_2_36"
"""Platform for which uv chooses wheels."""
ARCHITECTURE = "linux/amd64"
"""Platform of the images, as container tools write it."""
OPTIONAL = frozenset({"lightgbm", "xgboost-cpu"})
"""Packages of the standard image that the server needs only for models of these kinds."""
MLFLOW = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})
"""Packages of MLflow; every image has the server's own version, which reads the models of older ones."""
YANKED = re.compile(r"(?m)^warning: (`.+?` is yanked.*)$")
PATTERN = re.compile(r"^([\w.-]+)==(\S+)")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Packages of one image."""

    text: str
    """Content of the list: one package with its version and hashes in each entry."""
    warnings: tuple[str, ...] = ()
    """Sentences of uv about packages that their authors have withdrawn (yanked)."""

    @property
    def packages(self) -> dict[str, str]:
        """Return the version of each package by name."""
        found = (PATTERN.match(line) for line in self.text.splitlines())
        return {canonicalize_name(one[1]): one[2] for one in found if one}


def wanted(lines: Sequence[str], title: str) -> list[str]:
    """Return the requirements of a version without MLflow itself.

    Args:
        lines: lines of the version's requirements.txt.
        title: model and version, for messages.

    Raises:
        RequirementsError: a line is not the requirement of a package of a registry.
    """
    found = list[str]()
    for line in lines:
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            one = Requirement(text)
        except InvalidRequirement:
            one = None
        if one is None or one.url:
            raise RequirementsError(
                f"The line {text!r} in requirements.txt of {title} is not a package of a registry, so the image could "
                "not be built again from its list; log the version with pip_requirements=['NAME==VERSION', ...], and "
                "with code of your own in code_paths."
            )
        if canonicalize_name(one.name) not in MLFLOW:
            found.append(text)
    return found


def resolve(lines: Sequence[str], checkout: Path, title: str) -> Resolved:
    """Return the packages of an image for a version with these requirements.

    Args:
        lines: lines of the version's requirements.txt.
        checkout: folder with the list of the standard image.
        title: model and version, for messages.

    Raises:
        RequirementsError: the requirements contradict each other or the server, or a package has no wheel.
        ImageError: uv could not read the index of packages.
    """
    needed = wanted(lines, title)
    names = {canonicalize_name(Requirement(one).name) for one in needed}
    standard = (checkout / LOCK).read_text()
    pins = Resolved(text=standard).packages
    server = [name for name in (checkout / SERVER).read_text().split() if name not in OPTIONAL | names]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "server.in").write_text(
            "\n".join(f"{name}=={pins[name]}" if name in MLFLOW else name for name in server) + "\n"
        )
        (Path(folder) / "model.in").write_text("\n".join(needed) + "\n")
        lock = Path(folder) / "requirements.lock"
        lock.write_text(standard)  # uv prefers the versions of a list that exists
        done = subprocess.run(
            [_uv(), "pip", "compile", "--python-version", PYTHON, "--python-platform", PLATFORM,
             "--only-binary", ":all:", "--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate",
             "--color", "never", "server.in", "model.in", "--output-file", str(lock)],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode and "No solution found" not in done.stderr:
            raise ImageError(
                f"uv could not resolve the packages of {title}: {_explanation(done.stderr)} Correct this error and try "
                "again."
            )
        if done.returncode:
            raise RequirementsError(
                f"The packages of {title} cannot be installed beside the model server's on Python {PYTHON}: "
                f"{_explanation(done.stderr)} Log the version with requirements that can be resolved together."
            )
        return Resolved(text=lock.read_text(), warnings=tuple(YANKED.findall(done.stderr)))


@contextmanager
def context(resolved: Resolved, checkout: Path) -> Generator[Path]:
    """Yield a build context while the block runs: the inputs of the Dockerfile, with this list of packages."""
    with tempfile.TemporaryDirectory(prefix="model-image-") as name:
        folder = Path(name)
        for part in INPUTS:
            source = checkout / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (folder / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder / part)
        (folder / LOCK).write_text(resolved.text)
        yield folder


def build(resolved: Resolved, images: Images) -> tuple[str, bool]:
    """Build the image with these packages, unless it exists; return its reference and whether it was built.

    Raises:
        ImageError: the build failed; the message has the last lines of its log.
    """
    with context(resolved, images.checkout) as folder:
        digest = content_hash(folder / SERVING.dockerfile, folder, {"BASE": images.base.ref})
        ref = f"lab.local/{SERVING.name}:{OWN}{digest}"
        return ref, images.build_serving(folder, ref)


def _uv() -> str:
    found = shutil.which("uv", path=f"{Path(sys.prefix) / 'bin'}") or shutil.which("uv")
    if found is None:
        raise ImageError("uv, which resolves the packages of an image, is not installed; run `make .venv/.ready`.")
    return found


def _explanation(text: str) -> str:
    """Return uv's explanation, which names the packages, as one line that ends with a full stop."""
    lines = [line for line in text.splitlines() if not line.startswith(("warning:", "hint:"))]
    cause = " ".join(" ".join(lines).split()).partition("cause: ")
    return f"{(cause[2] or cause[0])[:700].rstrip('.')}."
