"""Downloads the files of a release to MODEL_DIR: `python -m model_server.fetch`, before the server starts.

The release names the files' folder (MODEL_SOURCE) and their digest (MODEL_DIGEST), so a pod needs no registry to start,
and the registry cannot change what a release is. The folder MODEL_DIR/MODEL/VERSION appears only when all files are in
it and match the digest. If it exists already, it is used as it is. With MODEL_CACHE_DIR, the files come from that cache
if they are in it. Exit codes: 0: the version is there. 1: the artifact store did not respond. 2: the version has no
files, or its files are not those that were released.
"""

import errno
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TypeVar

from contract import locations
from contract.digest import folder_digest
from model_server import bucket, logs
from model_server.failure import ServingError, report_failure, root_cause
from model_server.fetch.model_cache import ModelCache
from model_server.settings import FetchSettings, Termination

LOG = logging.getLogger("serving")
Result = TypeVar("Result")
PARALLEL_FILES = 8  # large files are also split into several streams


def main() -> int:
    """Download the version that the environment names. Return the exit code."""
    logs.configure()
    try:
        fetch(FetchSettings.load())
    except ServingError as error:
        return report_failure(error, Termination().termination_log)
    return 0


def fetch(settings: FetchSettings) -> None:
    """Download the version, unless its folder exists.

    Raises:
        ServingError: the version does not exist, or a server did not respond in time.
    """
    if settings.version_dir.exists():
        LOG.info("%s is already in %s", settings.title, settings.version_dir)
        return
    source, digest = settings.model_source, settings.model_digest
    if not digest:
        LOG.warning("%s was released without a digest: its files cannot be verified", settings.title)
    start = time.monotonic()
    folder, part = settings.model_cache_dir, settings.version_dir.with_suffix(".part")
    cache = ModelCache(folder, settings.model_cache_bytes) if folder else None
    if cache and digest and cache.take(digest, part):
        part.rename(settings.version_dir)
        LOG.info("%s is in %s, copied from the node's cache", settings.title, settings.version_dir)
        return
    size = _retry(lambda: _download(settings, source, digest, part), f"the artifact store at {source}", settings)
    part.rename(settings.version_dir)
    seconds = time.monotonic() - start
    LOG.info("%s, %.1f MB, is in %s after %.1f s", settings.title, size / 1e6, settings.version_dir, seconds)
    if cache and digest:
        cache.keep(digest, settings.version_dir)


def _retry(action: Callable[[], Result], server: str, settings: FetchSettings) -> Result:
    """Call the action until it succeeds, or until the time for retries is over."""
    deadline = time.monotonic() + settings.store_patience_seconds
    pause = 1.0
    while True:
        try:
            return action()
        except bucket.errors() as error:
            fault = root_cause(error)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise ServingError(
                    f"no space left in {settings.model_dir} for {settings.title}; give the volume a larger size limit"
                ) from error
        seconds_left = deadline - time.monotonic()
        if seconds_left <= 0:
            raise ServingError(
                f"{server} did not provide {settings.title} within {settings.store_patience_seconds:.0f} s: {fault}; "
                "check that it runs and that this pod can reach it"
            )
        LOG.warning("%s: %s; retrying for %.0f more seconds", server, fault, seconds_left)
        time.sleep(min(pause, seconds_left))
        pause = min(2 * pause, 5)


def _download(settings: FetchSettings, source: str, digest: str, part: Path) -> int:
    """Download the version to `part` and verify it. Return its size in bytes."""
    where = _parsed(settings, source)
    store, prefix = bucket.client(), f"{where.key.rstrip('/')}/"
    listed = _files(store, where.bucket, prefix)
    if "MLmodel" not in listed:
        fault = "its files were deleted or never written"
        raise ServingError(f"{settings.title} has no model at {source}: {fault}; serve another version", final=True)
    if outside := [path for path in listed if ".." in PurePosixPath(path).parts or path.startswith("/")]:
        raise ServingError(
            f"{settings.title} has files outside its folder: {', '.join(outside)}; serve another version", final=True
        )
    shutil.rmtree(part, ignore_errors=True)

    def get(path: str) -> None:
        (part / path).parent.mkdir(parents=True, exist_ok=True)
        store.download_file(where.bucket, prefix + path, str(part / path))

    with ThreadPoolExecutor(PARALLEL_FILES) as threads:
        list(threads.map(get, listed))
    if wrong := [path for path, size in listed.items() if (part / path).stat().st_size != size]:
        raise ServingError(
            f"the download of {settings.title} from {source} is incomplete: {', '.join(wrong)}; try again"
        )
    if digest and (found := folder_digest(part)) != digest:
        shutil.rmtree(part)
        raise ServingError(
            f"{settings.title} is not what was released: the files at {source} have the digest {found}, the release "
            f"has {digest}; restore the files, or release another version",
            final=True,
        )
    return sum(listed.values())


def _parsed(settings: FetchSettings, source: str) -> locations.S3Object:
    """Return the place of the version's folder in S3."""
    with suppress(locations.LocationError):
        where = locations.parse(source)
        if isinstance(where, locations.S3Object):
            return where
    fault = f"has its files at {source}, but only s3://BUCKET/KEY is supported"
    raise ServingError(f"{settings.title} {fault}; register it with an artifact store in S3", final=True)


def _files(store: bucket.Client, name: str, prefix: str) -> Mapping[str, int]:
    """Return the size of each file in the folder of the bucket, by its path in the folder."""
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix)
    found = (entry for page in pages for entry in page.get("Contents", []))
    # A key that ends with a slash stands for an empty folder in S3 consoles.
    return {entry["Key"].removeprefix(prefix): entry["Size"] for entry in found if not entry["Key"].endswith("/")}
