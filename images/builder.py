"""Images of this checkout: built from its Dockerfiles, named by a hash of their inputs, loaded into the cluster."""

import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from images.base import BaseImage
from images.board import Board, Say
from images.commands import Commands
from images.errors import ImageError, ProgramError
from images.inputs import HASH_LENGTH, content_hash
from images.store import ImageStore

GIB_FOR_A_BUILD = 3
"""Disk in GiB for one build: layers, layers of the build stage, and the copy that is loaded into the node."""

VERSIONS_KEPT = 2
"""Number of versions of each image that are kept."""
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
MACHINE_FILES = (CA_BUNDLE, Path("/etc/pip.conf"), Path("/etc/uv/uv.toml"))
"""Package sources and certificate authorities of this machine, as files that build steps see and no image contains."""

PROGRAM_DOCKERFILE = "FROM scratch\nCOPY {0} /app/{0}\n"
STEP = re.compile(r"STEP (\d+/\d+: .*)")


@dataclass(frozen=True)
class Recipe:
    """Image that the lab builds."""

    name: str
    """Name of the image's repository."""
    dockerfile: str
    setting: str
    """Path in the stack file of the image's reference."""
    late: bool = False
    """True if the image is needed only after the platform runs, to train or to serve. Default: False."""
    program: tuple[str, str] | None = None
    """Build argument that names an image with a static program of the lab at /app, and that program's name."""


RECIPES = (
    Recipe("mlflow", "images/mlflow/Dockerfile", "images.tracking"),
    Recipe("training", "training/Dockerfile", "images.training", late=True),
    Recipe("serving", "model_server/Dockerfile", "images.serving", late=True),
    Recipe("envoy", "images/envoy/Dockerfile", "images.envoy"),
    Recipe("postgres", "images/postgres/Dockerfile", "foundation.images.postgres"),
    Recipe(
        "s3-gateway", "images/s3-gateway/Dockerfile", "foundation.images.s3_gateway", program=("GATEWAY", "versitygw")
    ),
)  # fmt: skip
PARTS: Mapping[str, Sequence[Recipe]] = {
    "monitoring": (
        Recipe(
            "prometheus-server", "images/prometheus/Dockerfile", "monitoring.images.prometheus",
            program=("PROMETHEUS", "prometheus"),
        ),
        Recipe("alertmanager", "images/alertmanager/Dockerfile", "monitoring.images.alertmanager"),
        Recipe(
            "metrics-adapter", "images/metrics-adapter/Dockerfile", "monitoring.images.metrics_adapter",
            program=("ADAPTER", "prometheus-adapter"),
        ),
    )
}  # fmt: skip
"""Further images, by the part of the platform for `lab up --with`."""

SERVING = next(recipe for recipe in RECIPES if recipe.name == "serving")
OWN = "own-"
"""Beginning of the tag of a serving image that was built for the packages of a model version."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """Builds, loads, pushes and removes the images of a checkout."""

    checkout: Path
    store: ImageStore
    commands: Commands
    board: Board
    logs: Path
    programs: Path
    """Folder of the lab's programs, some of which images contain."""
    recipes: Sequence[Recipe] = RECIPES
    """Images to build."""
    base: BaseImage = field(default_factory=BaseImage)

    def refs(self) -> dict[Recipe, str]:
        """Return the reference of each image, built or not: `lab.local/<name>:<hash of its inputs>`."""
        return {
            recipe: f"lab.local/{recipe.name}:"
            + content_hash(self.checkout / recipe.dockerfile, self.checkout, self._arguments(recipe))
            for recipe in self.recipes
        }

    def build(self) -> dict[Recipe, str]:
        """Build the images that are not in the store, and return the references of all."""
        refs = self.refs()
        if set(refs.values()) <= self.store.refs():
            return refs
        with self.store.alone():
            present = self.store.refs()
            missing = {recipe: ref for recipe, ref in refs.items() if ref not in present}
            if not missing:  # another `lab up` built them meanwhile
                return refs
            self._need_disk(len(missing))
            self._build_foundations(missing, present)
            self._in_parallel([partial(self._build_one, recipe, ref) for recipe, ref in missing.items()])
        return refs

    def build_serving(self, context: Path, ref: str) -> bool:
        """Build a serving image from another build context, unless the store has it. Return whether it was built."""
        with self.store.alone():
            present = self.store.refs()
            if ref in present:
                return False
            self._need_disk(1)
            self._build_foundations({SERVING: ref}, present)
            self._build_one(SERVING, ref, context)
        return True

    def load(self, refs: Sequence[str], ctr: Sequence[str]) -> None:
        """Load the images that the node's containerd lacks. `ctr` is the command line of its client."""
        present = set(self.commands.output([*ctr, "images", "ls", "--quiet"]).split())
        self._in_parallel([partial(self._load_one, ref, ctr) for ref in refs if ref not in present])

    def push(self, refs: Mapping[Recipe, str], registry: str) -> dict[Recipe, str]:
        """Push the images to `registry` (HOST/PATH), and return their references by digest.

        Credentials come from `buildah login` or `docker login`.
        """
        return {recipe: self._push_one(recipe, ref, f"docker://{registry.rstrip('/')}") for recipe, ref in refs.items()}

    def prune(self, used: Sequence[str], ctr: Sequence[str] | None) -> None:
        """Remove all but the last used versions of each image from the store and the node.

        `used` are the references in use; `ctr` is the command line of the node's client, or None.
        """
        history_file = self.store.root / "used"
        lines = history_file.read_text().split() if history_file.exists() else []
        history = [*dict.fromkeys([*used, *lines])]
        kept = [ref for name in dict.fromkeys(map(_repository, history)) for ref in _newest(history, name)]
        if kept == lines:
            return
        self.store.root.mkdir(parents=True, exist_ok=True)
        history_file.write_text("\n".join(kept))
        prefixes = tuple(f"lab.local/{recipe.name}:" for recipe in self.recipes)
        self.store.remove({ref for ref in self.store.refs() if _is_stale(ref, prefixes, kept)})
        if ctr is not None:
            loaded = self.commands.output([*ctr, "images", "ls", "--quiet"]).split()
            stale = [ref for ref in loaded if _is_stale(ref, prefixes, kept)]
            if stale:
                self.commands.output([*ctr, "images", "rm", *stale])

    def _arguments(self, recipe: Recipe) -> dict[str, str]:
        programs = {recipe.program[0]: self._program_ref(recipe.program[1])} if recipe.program else {}
        return {"BASE": self.base.ref, **programs}

    def _program_ref(self, name: str) -> str:
        try:
            digest = hashlib.sha256((self.programs / name).read_bytes()).hexdigest()
        except FileNotFoundError as missing:
            raise ImageError(f"The program {self.programs / name} is missing; build it with `lab tools`.") from missing
        return f"lab.local/{name}:{digest[:HASH_LENGTH]}"

    def _build_foundations(self, missing: Mapping[Recipe, str], present: set[str]) -> None:
        if missing and self.base.ref not in present:
            with self.board.line("image base"):
                self.base.make(self.commands, self.store, log=self.logs / "image-base.log")
        for name in [recipe.program[1] for recipe in missing if recipe.program]:
            if (ref := self._program_ref(name)) in present:
                continue
            with self.store.scratch(name) as folder:
                shutil.copy(self.programs / name, folder / name)
                (folder / "Dockerfile").write_text(PROGRAM_DOCKERFILE.format(name))
                self._buildah("bud", "--tag", ref, str(folder), log=name)

    def _build_one(self, recipe: Recipe, ref: str, context: Path | None = None) -> None:
        folder = context or self.checkout
        arguments = [f"--build-arg={name}={value}" for name, value in self._arguments(recipe).items()]
        with self.board.line(f"image {recipe.name}") as progress:
            self._buildah(
                "bud", "--layers", "--pull-never", "--tag", ref, *arguments, *machine_volumes(),
                "--file", str(folder / recipe.dockerfile), str(folder),
                log=recipe.name, line=lambda text: progress.at(step[1]) if (step := STEP.search(text)) else None,
            )  # fmt: skip

    def _load_one(self, ref: str, ctr: Sequence[str]) -> None:
        name = _repository(ref).rpartition("/")[2]
        packed = self.store.buildah("push", "--quiet", ref, f"docker-archive:/dev/stdout:{ref}")
        both = f"{shlex.join(packed)} | {shlex.join([*ctr, 'images', 'import', '-'])}"
        with self.board.line(f"loading {name}"):
            self.commands.watch(
                ["bash", "-o", "pipefail", "-c", both],
                log=self.logs / f"image-load-{name}.log",
                env=self.store.environment(),
            )

    def _in_parallel(self, works: Sequence[Callable[[], None]]) -> None:
        """Run the works, as many at a time as there are processors. The first failure stops the others."""
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            try:
                for work in as_completed([pool.submit(work) for work in works]):
                    work.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.commands.stop()
                raise

    def _push_one(self, recipe: Recipe, ref: str, registry: str) -> str:
        target = f"{registry}/{recipe.name}:{ref.rpartition(':')[2]}"
        with self.board.line(f"pushing {recipe.name}"), self.store.scratch("push") as folder:
            self._buildah("push", "--digestfile", str(folder / "digest"), ref, target, log=f"push-{recipe.name}")
            digest = (folder / "digest").read_text().strip()
        return f"{registry.removeprefix('docker://')}/{recipe.name}@{digest}"

    def _buildah(self, *arguments: str, log: str, line: Say = lambda _: None) -> None:
        file = self.logs / f"image-{log}.log"
        try:
            self.commands.watch(self.store.buildah(*arguments), log=file, line=line, env=self.store.environment())
        except ProgramError as error:
            work = "Pushing" if arguments[0] == "push" else "Building"
            image = log.removeprefix("push-")
            raise ImageError(f"{work} image {image} failed. Correct this error and try again: {error}") from None

    def _need_disk(self, builds: int) -> None:
        needed, free = builds * GIB_FOR_A_BUILD, shutil.disk_usage(self.store.root).free >> 30
        if free < needed:
            raise ImageError(
                f"Building {builds} images needs about {needed} GiB of disk, but {self.store.root} has {free} GiB free:"
                " free some space, or set LAB_CACHE to a folder on another disk."
            )


def machine_volumes() -> list[str]:
    """Return the options of `buildah bud` by which build steps see MACHINE_FILES."""
    return [f"--volume={file.resolve()}:{file}:ro" for file in MACHINE_FILES if file.exists()]


def _repository(ref: str) -> str:
    return ref.rpartition(":")[0]


def _is_stale(ref: str, prefixes: tuple[str, ...], kept: Sequence[str]) -> bool:
    """Return whether `prune` removes the image. An image for a model's own packages stays: a stack may serve it."""
    return ref.startswith(prefixes) and ref not in kept and not ref.rpartition(":")[2].startswith(OWN)


def _newest(history: Sequence[str], repository: str) -> list[str]:
    return [ref for ref in history if _repository(ref) == repository][:VERSIONS_KEPT]
