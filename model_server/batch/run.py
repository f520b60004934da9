"""Predicts the partitions of a table: `python -m model_server.batch`, in one pod of an Indexed Job.

A partition is one Parquet file that BATCH_INPUT names. Each pod takes the partitions of its index. The result of
INPUT/a.parquet is BATCH_OUTPUT/version=N/a.parquet. It is uploaded in one request, so it exists whole or not at all,
and it records the version's digest and the input's ETag. A pod that starts again skips each partition whose result has
this record, so every row is in the result exactly once. Exit codes: 0: all partitions of this pod have a result. 1: the
artifact store did not respond. 2: partitions do not fit the model; the others have their results.
"""

import faulthandler
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from model_server import bucket, logs
from model_server.batch.partition import PartitionError, predict
from model_server.failure import ServingError, report_failure, root_cause
from model_server.predict.model import Model, load
from model_server.settings import BatchSettings, Termination

LOG = logging.getLogger("serving")
RECORD = "predicted"
"""Name of the S3 metadata with the version and the input of a result."""
GONE = frozenset({"404", "NoSuchKey", "NotFound"})


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One Parquet file of the input."""

    key: str
    """Key of the file in the input's bucket."""
    name: str
    """Path of the file below the input's folder."""
    etag: str
    """ETag of the file, which changes with its content."""


def main() -> int:
    """Predict the partitions of this pod's index. Return the exit code."""
    logs.configure()
    faulthandler.enable()
    try:
        run(BatchSettings.load())
    except ServingError as error:
        return report_failure(error, Termination().termination_log)
    return 0


def run(settings: BatchSettings) -> None:
    """Predict the partitions of this pod's index that have no result yet.

    Raises:
        ServingError: the store did not respond, the model cannot be loaded, or partitions do not fit it.
    """
    settings.prepare_process()
    store = bucket.client()
    try:
        listed = partitions(store, settings)
        mine = [
            one for one in listed if crc32(one.name.encode()) % settings.batch_workers == settings.job_completion_index
        ]
        todo = [one for one in mine if not has_result(store, settings, one)]
        LOG.info(
            "%d partitions, %d of them for index %d, %d without a result",
            len(listed), len(mine), settings.job_completion_index, len(todo),
        )  # fmt: skip
        if not listed:
            raise ServingError(f"no object matches {settings.batch_input}; write the input of the batch", final=True)
        unfit = _predict_all(store, settings, todo) if todo else []
    except bucket.errors() as error:
        raise ServingError(
            f"the artifact store failed: {root_cause(error)}; the batch continues when it responds"
        ) from error
    if unfit:
        more = f"; and {len(unfit) - 3} more partitions" if len(unfit) > 3 else ""
        raise ServingError(
            f"{len(unfit)} of {len(mine)} partitions do not fit {settings.title}: {'; '.join(unfit[:3])}{more}; "
            "correct or remove them, the other partitions are done",
            final=True,
        )


def partitions(store: bucket.Client, settings: BatchSettings) -> list[Partition]:
    """Return the objects that match the input's pattern, sorted by name."""
    name, folder, pattern = settings.input_parts
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=folder)
    found = [
        Partition(key=entry["Key"], name=entry["Key"].removeprefix(folder), etag=entry["ETag"].strip('"'))
        for page in pages
        for entry in page.get("Contents", [])
    ]
    return sorted((one for one in found if pattern.fullmatch(one.name)), key=lambda one: one.name)


def has_result(store: bucket.Client, settings: BatchSettings, partition: Partition) -> bool:
    """Return whether the partition's result exists, of this version and of the partition's present content."""
    name, key = settings.output_of(partition.name)
    try:
        found = store.head_object(Bucket=name, Key=key)
    except bucket.errors() as error:
        if getattr(error, "response", {}).get("Error", {}).get("Code") in GONE:
            return False
        raise
    return found.get("Metadata", {}).get(RECORD) == _record(settings, partition)


def _record(settings: BatchSettings, partition: Partition) -> str:
    return f"{settings.model}/{settings.model_version}/{settings.model_digest}/{partition.etag}"


def _predict_all(store: bucket.Client, settings: BatchSettings, todo: Sequence[Partition]) -> list[str]:
    """Predict the partitions and upload each result; return a sentence for each partition that does not fit."""
    model = load(settings.version_dir, settings.title, pickles=settings.mlflow_allow_pickle_deserialization)
    unfit = list[str]()
    for partition in todo:
        try:
            _predict_one(store, settings, model, partition)
        except PartitionError as error:
            unfit.append(f"{partition.name} {error}")
            LOG.warning("%s %s", partition.name, error)
    return unfit


def _predict_one(store: bucket.Client, settings: BatchSettings, model: Model, partition: Partition) -> None:
    start, (name, key) = time.monotonic(), settings.output_of(partition.name)
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.parquet", Path(folder) / "made.parquet"
        store.download_file(settings.input_parts[0], partition.key, str(given))
        rows = predict(model, given, made, settings.batch_rows)
        with made.open("rb") as body:
            store.put_object(Bucket=name, Key=key, Body=body, Metadata={RECORD: _record(settings, partition)})
    LOG.info("%s: %d rows in %.1f s", partition.name, rows, time.monotonic() - start)
