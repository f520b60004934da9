"""Puts one version of a registered model into MODEL_DIR: `python -m serving.fetch`, before the server starts.

The folder MODEL_DIR/VERSION appears when all files are in it and have the digest that the registry has of them, and not
before; one that is there is taken as it is. Exit code 0: it is there. 2: the version does not exist, has no files, or
others than were registered. 1: MLflow or the artifact store did not answer.
"""

import errno
import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar, cast

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from serving import logs
from serving.failure import ServingError, leave
from serving.settings import FetchSettings, Termination

LOG = logging.getLogger("serving")
Result = TypeVar("Result")
MODEL_DIGEST = "model_digest"
NOTE = b"registered_model_meta"  # written beside the files of a version by whoever loads it; into the store, if local
UNKNOWN = "RESOURCE_DOES_NOT_EXIST"
STORE_ERRORS = (Boto3Error, BotoCoreError, ClientError, MlflowException, OSError)


class _Named(Protocol):
    name: str


class _Tagged(Protocol):
    tags: Mapping[str, str]


class _Repository(Protocol):
    """MLflow's artifact repositories are typed in part; this is all of one that is used here."""

    def list_artifacts(self, path: str | None) -> list[FileInfo]: ...
    def download_artifacts(self, artifact_path: str, dst_path: str) -> object: ...


def main() -> int:
    """Fetches the version that the environment names and returns the exit code."""
    logs.configure()
    try:
        fetch(FetchSettings.load())
    except ServingError as error:
        return leave(error, Termination().termination_log)
    return 0


def fetch(settings: FetchSettings) -> None:
    """The version's folder is complete.

    Raises:
        ServingError: the version does not exist, or a server did not answer in time.
    """
    if settings.version_dir.exists():
        LOG.info("%s is already in %s", settings.title, settings.version_dir)
        return
    settings.prepare_process()
    source, digest = _locate(settings)
    if not digest:
        LOG.warning("%s has no tag %s: its files are served unverified", settings.title, MODEL_DIGEST)
    start = time.monotonic()
    size = _patiently(lambda: _download(settings, source, digest), f"the artifact store at {source}", settings)
    seconds = time.monotonic() - start
    LOG.info("%s, %.1f MB, is in %s after %.1f s", settings.title, size / 1e6, settings.version_dir, seconds)


def _locate(settings: FetchSettings) -> tuple[str, str | None]:
    """Where the files of the version lie, and their digest if there is one, as the registry says."""
    client = MlflowClient(tracking_uri=settings.mlflow_tracking_uri)
    name, version = settings.model, str(settings.model_version)

    def ask() -> tuple[str, str | None]:
        try:
            tags = cast("_Tagged", client.get_model_version(name, version)).tags
            return client.get_model_version_download_uri(name, version), tags.get(MODEL_DIGEST)
        except MlflowException as error:
            if error.error_code != UNKNOWN:
                raise
            raise ServingError(_what_exists(client, name, version), final=True) from error

    return _patiently(ask, f"MLflow at {settings.mlflow_tracking_uri}", settings)


def _what_exists(client: MlflowClient, name: str, version: str) -> str:
    known = sorted(int(found.version) for found in client.search_model_versions(f"name = '{name}'"))
    if known:
        return f"{name} has no version {version}; versions that exist: {', '.join(map(str, known))}"
    models = sorted(model.name for model in cast("list[_Named]", client.search_registered_models()))
    return (
        f"there is no model {name} in the registry; models that exist: {', '.join(models) or 'none; train one first'}"
    )


def _patiently(action: Callable[[], Result], whom: str, settings: FetchSettings) -> Result:
    """The action's result, tried again until patience is out."""
    deadline = time.monotonic() + settings.mlflow_patience_seconds
    pause = 1.0
    while True:
        try:
            return action()
        except STORE_ERRORS as error:
            fault = _fault(error)
            # Not by its number: MLflow puts the errors of its download threads into one text.
            if os.strerror(errno.ENOSPC) in fault:
                raise ServingError(
                    f"no space left in {settings.model_dir} for {settings.title}; give the volume a larger size limit"
                ) from error
        left = deadline - time.monotonic()
        if left <= 0:
            raise ServingError(
                f"{whom} did not give {settings.title} within {settings.mlflow_patience_seconds:.0f} s: {fault}; "
                "check that it runs and that this pod may reach it"
            )
        LOG.warning("%s: %s; trying for %.0f more seconds", whom, fault, left)
        time.sleep(min(pause, left))
        pause = min(2 * pause, 5)


def _download(settings: FetchSettings, source: str, digest: str | None) -> int:
    """The version's folder, complete and as registered, in one step. Returns its size in bytes."""
    repository = cast("_Repository", get_artifact_repository(source, tracking_uri=settings.mlflow_tracking_uri))
    promised = dict(_files(repository))
    if "MLmodel" not in promised:
        fault = "its files were deleted or never written"
        raise ServingError(f"{settings.title} has no model at {source}: {fault}; serve another version", final=True)
    part = settings.version_dir.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    repository.download_artifacts("", str(part))
    wrong = [path for path, size in promised.items() if not _is_whole(part / path, size)]
    if wrong:
        raise ServingError(f"{settings.title} came incomplete from {source}: {', '.join(wrong)}; try again")
    if digest and (found := digest_of(part)) != digest:
        shutil.rmtree(part)
        raise ServingError(
            f"{settings.title} is not what was registered: the files at {source} have the digest {found}, and the "
            f"version's tag {MODEL_DIGEST} says {digest}; somebody changed one of them; serve another version, or "
            "train this one anew",
            final=True,
        )
    part.rename(settings.version_dir)
    return sum(size or 0 for size in promised.values())


def digest_of(folder: Path) -> str:
    """SHA-256 of the list that `sha256sum` would print of all files in the folder, in the order of their paths' bytes.

    The same as `training.digest`, which leaves it in the registry. A note of MLflow's client does not count.
    """
    paths = sorted((path.relative_to(folder).as_posix().encode(), path) for path in folder.rglob("*") if path.is_file())
    listed = hashlib.sha256()
    for name, path in paths:
        if name == NOTE:
            continue
        with path.open("rb") as file:
            listed.update(hashlib.file_digest(file, "sha256").hexdigest().encode() + b"  " + name + b"\n")
    return listed.hexdigest()


def _files(repository: _Repository, folder: str | None = None) -> Iterator[tuple[str, int | None]]:
    for entry in repository.list_artifacts(folder):
        if entry.is_dir:
            yield from _files(repository, entry.path)
        else:
            yield entry.path, entry.file_size


def _fault(error: BaseException) -> str:
    """The innermost reason: `Connection refused`, not what five layers made of it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return " ".join(str(error).split())[:300]


def _is_whole(file: Path, size: int | None) -> bool:
    return file.is_file() and size in (None, file.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
