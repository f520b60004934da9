"""Uploads the prediction log to the bucket: `python -m model_server.prediction_log.ship`, beside the server.

Each closed segment becomes one object, and the segment's name gives the object's name: after a kill and a restart the
same segment is the same object, so each row is uploaded once. A segment is deleted after its upload. On SIGTERM the
remaining segments are uploaded, for PREDICTION_LOG_DRAIN_SECONDS at most. Exit code 1: some could not be uploaded.
"""

import logging
import signal
import sys
import time
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import cast

from model_server import bucket, logs
from model_server.failure import ServingError, report_failure
from model_server.prediction_log import segments
from model_server.settings import ShipSettings, Termination

LOG = logging.getLogger("serving")
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
PERIOD = 1.0  # seconds between two reads of the folder
LONGEST_PAUSE = 30.0  # seconds between retries while the store does not respond
PREFIX = "predictions"
"""Prefix of the log in the bucket. The serving role may write nowhere else."""


def main() -> int:
    """Upload segments until a signal stops the process. Return the exit code."""
    logs.configure()
    # `run` waits for these signals with sigtimedwait. Process 1 would ignore a signal that is not blocked or handled.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        settings = ShipSettings.load()
        return run(Shipper(settings), settings.prediction_log_drain_seconds)
    except ServingError as error:
        return report_failure(error, Termination().termination_log)


def run(shipper: "Shipper", drain_seconds: float) -> int:
    """Upload segments every PERIOD, less often while the store does not respond. Return the exit code."""
    pause = PERIOD
    while not signal.sigtimedwait(STOP_SIGNALS, pause):
        pause = PERIOD if shipper.ship() else min(2 * pause, LONGEST_PAUSE)
    deadline = time.monotonic() + drain_seconds
    while not shipper.ship() and time.monotonic() < deadline:
        time.sleep(min(PERIOD, max(0, deadline - time.monotonic())))
    if unshipped := segments.closed(shipper.folder):
        LOG.error("%s segments of the prediction log are lost: the store did not accept them in time", len(unshipped))
    return 1 if unshipped else 0


class Shipper:
    """Uploads segments from one folder to one bucket."""

    def __init__(self, settings: ShipSettings) -> None:
        self.folder = settings.prediction_log_dir
        self._settings = settings

    def ship(self) -> bool:
        """Upload and delete all closed segments. Return False if the store failed and segments remain."""
        for segment in segments.closed(self.folder):
            try:
                body = self._table(segment)
                if body is not None:
                    self._store.put_object(Bucket=self._settings.artifact_bucket, Key=self.key(segment), Body=body)
            except bucket.errors() as error:
                LOG.warning(
                    "the prediction log cannot be uploaded and stays in %s: %s",
                    self.folder,
                    " ".join(str(error).split())[:300],
                )
                return False
            segment.unlink(missing_ok=True)
        return True

    def key(self, segment: Path) -> str:
        """Return the key of the segment's object. The segment's name begins with its hour."""
        date, hour = f"{segment.name[:4]}-{segment.name[4:6]}-{segment.name[6:8]}", segment.name[9:11]
        model = f"model={self._settings.model}/version={self._settings.model_version}"
        return f"{PREFIX}/{model}/date={date}/hour={hour}/{self._settings.pod_name}-{segment.stem}.parquet"

    def _table(self, segment: Path) -> bytes | None:
        """Return the segment as Parquet, or None if it is empty, or unreadable and therefore renamed."""
        # Imported with the first segment, because the import takes memory, and CPU time from a starting server.
        as_parquet = cast("Callable[..., bytes]", import_module("model_server.prediction_log.tables").as_parquet)
        of = {"model": self._settings.model, "version": str(self._settings.model_version)}
        try:
            content = segments.read(segment)
            if content.torn:
                LOG.warning(
                    "%s lines of the prediction log are incomplete, because their process was killed", content.torn
                )
            return as_parquet(content, of) if content.records else None
        except Exception:
            segment.rename(segment.with_suffix(segments.UNREADABLE))
            LOG.exception("a segment of the prediction log cannot be read; it stays in %s", self.folder)
            return None

    @cached_property
    def _store(self) -> bucket.Client:
        return bucket.client()


if __name__ == "__main__":
    sys.exit(main())
