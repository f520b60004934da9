"""What a node keeps of the versions that its pods have fetched: a folder that they share, each version by its digest.

Nothing there is believed: a copy is served when it has the digest that the registry has of the version, so whoever
writes there may keep a pod from starting, and cannot change what it serves. And nothing there is needed: what cannot be
read or kept is a line in the log, and the version comes from the store.
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
from model_server.failure import fault_of

LOG = logging.getLogger("serving")
UNFINISHED = ".part-"
ABANDONED_SECONDS = 3600
"""A copy that is older and not whole was left by a pod that ended in the middle."""


@dataclass(frozen=True)
class ModelCache:
    """At most `most_bytes` in `folder`, of which those go first that were not taken for the longest time."""

    folder: Path
    most_bytes: int

    def take(self, digest: str, target: Path) -> bool:
        """Whether the version with this digest is in `target` now; if not, nothing is."""
        kept = self.folder / digest
        shutil.rmtree(target, ignore_errors=True)
        try:
            if kept not in self.folder.iterdir():
                return False
            os.utime(kept)
            shutil.copytree(kept, target)
            if folder_digest(target) == digest:
                return True
            LOG.warning("what the node keeps as %s are other files: it is removed", digest)
            self._remove(kept)
        except OSError as error:
            LOG.warning("what the node keeps as %s cannot be read: %s", digest, fault_of(error))
        shutil.rmtree(target, ignore_errors=True)
        return False

    def keep(self, digest: str, source: Path) -> None:
        """The node keeps a copy of `source`, if there is room for it; pods that do so at a time do not disturb."""
        part = self.folder / f"{UNFINISHED}{uuid4().hex}"
        try:
            if (size := _size(source)) > self.most_bytes:
                LOG.info("%s takes %d bytes, and the node keeps %d: it is not kept", digest, size, self.most_bytes)
                return
            self._make_room(size)
            shutil.copytree(source, part)
            os.utime(part)
            part.rename(self.folder / digest)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else another pod was first
                LOG.warning("the node does not keep %s: %s", digest, fault_of(error))

    def _make_room(self, size: int) -> None:
        folders = sorted(self.folder.iterdir(), key=_last_taken)
        sizes = {folder: _size(folder) for folder in folders}
        for folder in folders:
            whole = not folder.name.startswith(UNFINISHED)
            too_much = sum(sizes.values()) + size > self.most_bytes
            if (whole and too_much) or (not whole and _last_taken(folder) < time.time() - ABANDONED_SECONDS):
                self._remove(folder)
                del sizes[folder]

    def _remove(self, folder: Path) -> None:
        """In one step for whoever is about to take it; another pod may be faster."""
        gone = self.folder / f"{UNFINISHED}{uuid4().hex}"
        with suppress(FileNotFoundError):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _last_taken(folder: Path) -> float:
    """In seconds since the epoch; 0 of what has vanished."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0


def _size(folder: Path) -> int:
    """In bytes; of what vanishes meanwhile, nothing."""
    size = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                size += (Path(parent) / file).lstat().st_size
    return size
