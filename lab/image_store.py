"""buildah's image store, inside the lab's cache: nothing of the machine's own containers is read or changed."""

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

from lab.commands import Commands
from lab.errors import LabError

LAYERS_KEPT = timedelta(days=7)


@dataclass(frozen=True)
class ImageStore:
    """The images that were built on this machine."""

    root: Path
    commands: Commands

    @cached_property
    def driver(self) -> str:
        """`overlay` where the kernel lets it be mounted on this disk, else `vfs`, which copies every layer whole."""
        try:
            self.commands.answer(self._command("overlay", "info"), env=self.environment())
        except LabError:
            return "vfs"
        return "overlay"

    def buildah(self, *arguments: str) -> list[str]:
        """The command line for buildah on this store; mounts that it makes are private and end with it."""
        return self._command(self.driver, *arguments)

    def _command(self, driver: str, *arguments: str) -> list[str]:
        return ["unshare", "--mount", "--propagation", "private", "buildah", "--root", str(self.root / driver),
                "--runroot", str(self.root / "run"), "--storage-driver", driver, *arguments]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """The caller's, with large temporary files beside the store and not in /tmp, which may be memory."""
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return {**os.environ, "TMPDIR": str(folder), "BUILDAH_ISOLATION": "chroot"}

    @contextmanager
    def alone(self) -> Generator[None]:
        """One builder at a time; what an interrupted one left (working containers, scratch files) is removed first."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(self.root / "tmp", ignore_errors=True)
            self._ask("rm", "--all")
            yield

    @contextmanager
    def scratch(self, name: str) -> Generator[Path]:
        """A folder for large files, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=self.environment()["TMPDIR"]) as folder:
            yield Path(folder)

    def refs(self) -> set[str]:
        """Every tagged image."""
        return {name for image in self._images() for name in image.get("names") or ()}

    def remove(self, refs: set[str]) -> None:
        """Untags `refs`, and drops layers that no image of the last week was built from."""
        if refs:
            self._ask("rmi", *sorted(refs))
        oldest = time.time() - LAYERS_KEPT.total_seconds()
        for image in self._images("--all", "--filter", "dangling=true"):
            if image["created"] < oldest:
                self._ask("rmi", image["id"])

    def _images(self, *arguments: str) -> list[dict[str, Any]]:
        return json.loads(self._ask("images", "--json", *arguments) or "null") or []

    def _ask(self, *arguments: str) -> str:
        return self.commands.answer(self.buildah(*arguments), env=self.environment())
