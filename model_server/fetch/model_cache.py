"""Cache of model versions on a node, shared by its pods: one folder for each version, named after its digest.

A pod verifies the digest of a cached copy before it serves it. So a pod that writes wrong files can only make another
pod download the version again. The cache is optional: if it cannot be read or written, the pod logs one line and
downloads the version from the artifact store.
"""

import errno
import logging
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from contract.digest import folder_digest
from model_server.failure import root_cause

LOG = logging.getLogger("serving")
UNFINISHED = ".part-"
ABANDONED_SECONDS = 3600
"""Age in seconds at which an incomplete copy counts as left behind by a killed pod."""


@dataclass(frozen=True)
class ModelCache:
    """A cache of at most `most_bytes` in `folder`. The least recently used versions are removed first."""

    folder: Path
    most_bytes: int

    def take(self, digest: str, target: Path) -> bool:
        """Copy the version with this digest to `target`. Return False, and leave no target, if that fails."""
        kept = self.folder / digest
        shutil.rmtree(target, ignore_errors=True)
        try:
            if kept not in self.folder.iterdir():
                return False
            os.utime(kept)
            shutil.copytree(kept, target)
            if folder_digest(target) == digest:
                return True
            LOG.warning("the files of the version with digest %s have another digest; the cache removes them", digest)
            self._remove(kept)
        except OSError as error:
            LOG.warning("the cached version with digest %s cannot be read: %s", digest, root_cause(error))
        shutil.rmtree(target, ignore_errors=True)
        return False

    def keep(self, digest: str, source: Path) -> None:
        """Add a copy of `source` to the cache if it fits. Several pods may do so at once."""
        part = self.folder / f"{UNFINISHED}{uuid4().hex}"
        try:
            if (size := _size(source)) > self.most_bytes:
                LOG.info(
                    "the version with digest %s is not cached: %d bytes exceed the limit of %d",
                    digest,
                    size,
                    self.most_bytes,
                )
                return
            self._make_room(size)
            shutil.copytree(source, part)
            os.utime(part)
            part.rename(self.folder / digest)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # otherwise another pod was faster
                LOG.warning("the version with digest %s cannot be cached: %s", digest, root_cause(error))

    def _make_room(self, size: int) -> None:
        folders = sorted(self.folder.iterdir(), key=_last_used)
        sizes = {folder: _size(folder) for folder in folders}
        for folder in folders:
            whole = not folder.name.startswith(UNFINISHED)
            too_much = sum(sizes.values()) + size > self.most_bytes
            if (whole and too_much) or (not whole and _last_used(folder) < time.time() - ABANDONED_SECONDS):
                self._remove(folder)
                del sizes[folder]

    def _remove(self, folder: Path) -> None:
        """Remove the folder: rename it first, so that no pod copies a half-deleted version."""
        gone = self.folder / f"{UNFINISHED}{uuid4().hex}"
        with suppress(FileNotFoundError):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _last_used(folder: Path) -> float:
    """Return the time of the last use, in seconds since 1970, or 0 if the folder is gone."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0


def _size(folder: Path) -> int:
    """Return the size in bytes, without files that are deleted meanwhile."""
    size = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                size += (Path(parent) / file).lstat().st_size
    return size
