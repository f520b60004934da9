"""buildah's image store in the lab's cache, separate from the machine's own containers."""

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from images.commands import Commands
from images.errors import ProgramError

LAYERS_KEPT = timedelta(days=7)
"""Age up to which layers are kept that no image uses."""


@dataclass(frozen=True)
class ImageStore:
    """Store of the images that were built on this machine."""

    root: Path
    commands: Commands

    @cached_property
    def driver(self) -> str:
        """Storage driver: `overlay` if this disk supports it, else `vfs`, which copies every layer completely."""
        try:
            self.commands.output(self._command("overlay", "info"), env=self.environment())
        except ProgramError:
            return "vfs"
        return "overlay"

    def buildah(self, *arguments: str) -> list[str]:
        """Return a command line of buildah for this store. Its mounts are private and end with it."""
        return self._command(self.driver, *arguments)

    def _command(self, driver: str, *arguments: str) -> list[str]:
        return ["unshare", "--mount", "--propagation", "private", "buildah", "--root", str(self.root / driver),
                "--runroot", str(self.root / "run"), "--storage-driver", driver, *arguments]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return the environment of buildah: temporary files go beside the store, because /tmp may be in memory."""
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return {**os.environ, "TMPDIR": str(folder), "BUILDAH_ISOLATION": "chroot"}

    @contextmanager
    def alone(self) -> Generator[None]:
        """Lock the store for one builder, and remove the working containers and files of interrupted ones."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(self.root / "tmp", ignore_errors=True)
            self._run("rm", "--all")
            yield

    @contextmanager
    def scratch(self, name: str) -> Generator[Path]:
        """Yield a temporary folder for large files."""
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=self.environment()["TMPDIR"]) as folder:
            yield Path(folder)

    def refs(self) -> set[str]:
        """Return the names of all tagged images."""
        return {name for image in self._images() for name in image.get("names") or ()}

    def remove(self, refs: set[str]) -> None:
        """Remove these tags, and unused layers that are older than `LAYERS_KEPT`."""
        if refs:
            self._run("rmi", *sorted(refs))
        oldest = time.time() - LAYERS_KEPT.total_seconds()
        for image in self._images("--all", "--filter", "dangling=true"):
            if image["created"] < oldest:
                self._run("rmi", image["id"])

    def _images(self, *arguments: str) -> list[dict[str, Any]]:
        return json.loads(self._run("images", "--json", *arguments) or "null") or []

    def _run(self, *arguments: str) -> str:
        return self.commands.output(self.buildah(*arguments), env=self.environment())
