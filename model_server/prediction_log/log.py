"""Writes a sample of requests and responses to segment files, outside the request path.

On the event loop, a request costs one hash and one append; a thread does the rest, and ship.py uploads the segments.
Records that exceed the limits of memory or disk are counted and dropped, so no request waits for the log.
"""

import hmac
import json
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time_ns
from typing import Any, cast
from zlib import crc32

from model_server.failure import ServingError
from model_server.predict.decoding import Row
from model_server.predict.model import Model
from model_server.predict.scoring import Request
from model_server.predict.signature import read_outputs
from model_server.prediction_log import segments
from model_server.prediction_log.segments import ENCODER, HOUR, Field, Header, Record, Segment
from model_server.settings import ServerSettings

LOG = logging.getLogger("serving")
PERIOD = 0.25  # seconds between two writes
# Limits of one write; other threads wait while its records are encoded.
CHUNK, CHUNK_BYTES = 128, 256 << 10
QUEUE_BYTES = 16 << 20  # limit for requests and responses in memory
OVERHEAD = 256  # approximate bytes of a request in memory beside its bodies
CLOSING_SECONDS = 5
UNIT_BYTES = 16  # of the keyed hash of a caller's key; RFC 2104 allows half of SHA-256's bytes
SHORTEST_SALT = 16  # characters


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the prediction log."""

    queue_bytes: int
    """Bytes of requests and responses that may wait in memory."""
    spool_bytes: int
    """Bytes of all segment files on disk."""
    segment_bytes: int
    """Size in bytes at which a segment is closed."""
    segment_seconds: float
    """Age in seconds at which a segment is closed."""


class PredictionLog:
    """Writes requests to segments. `written` and `dropped` count requests; `dropped` counts by reason."""

    def __init__(self, folder: Path, header: Header, limits: Limits, *, sample: float, record: "Recorder") -> None:
        self.written, self.dropped = 0, Counter[str]()
        self.spool_bytes = segments.spooled(folder)
        self._folder, self._header, self._limits, self._record = folder, header, limits, record
        self._below = round(sample * 2**32)
        self._queue: deque[tuple[int, Request]] = deque()
        # Bytes queued and bytes taken. Each is written by one thread only; their difference is the queue's size.
        self._bytes_put = self._bytes_taken = 0
        self._segment: Segment | None = None
        self._number = 0
        self._wake, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def watch(self, request: Request) -> None:
        """Queue the request for the log, if it was predicted and belongs to the sample."""
        response = request.response
        # The ID decides, so that a retry of the same request gets the same decision.
        if response is None or response.status != 200 or crc32(request.request_id.encode()) >= self._below:
            return
        size = _size(request)
        queued_bytes = self._bytes_put - self._bytes_taken
        if queued_bytes and queued_bytes + size > self._limits.queue_bytes:
            self.dropped["queue"] += 1
            return
        self._bytes_put += size
        self._queue.append((time_ns() // 1000, request))

    def close(self) -> None:
        """Write the queued requests and close the segment, within CLOSING_SECONDS."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(PERIOD)
            self._drain()
        self._drain()
        self._close_segment()

    def _drain(self) -> None:
        self._read_spool_size()
        while self._queue:
            self._write(*self._chunk())
        if self._segment and monotonic() - self._segment.born >= self._limits.segment_seconds:
            self._close_segment()

    def _chunk(self) -> tuple[list[bytes], int]:
        """Return the lines of some queued requests, and the hour in which all of these requests finished."""
        hour, lines, end = self._queue[0][0] // HOUR, list[bytes](), self._bytes_taken + CHUNK_BYTES
        for _ in range(CHUNK):
            if self._bytes_taken >= end or not self._queue or self._queue[0][0] // HOUR != hour:
                break
            at, request = self._queue.popleft()
            self._bytes_taken += _size(request)
            try:
                lines.append(ENCODER.encode(self._record(at, request)) + b"\n")
            except Exception:
                LOG.exception("a request could not be written to the prediction log", extra={"about": request.names})
                self.dropped["error"] += 1
        return lines, hour

    def _write(self, lines: Sequence[bytes], hour: int) -> None:
        text = b"".join(lines)
        if self.spool_bytes + len(text) > self._limits.spool_bytes:
            self._drop(len(lines), f"{self._folder} has reached its limit of {self._limits.spool_bytes} bytes")
            return
        try:
            self._segment_of(hour).write(text)
        except OSError as error:
            self._drop(len(lines), error.strerror or str(error))
            return
        self.written += len(lines)
        self.spool_bytes += len(text)
        if self._segment and self._segment.size >= self._limits.segment_bytes:
            self._close_segment()

    def _drop(self, count: int, why: str) -> None:
        """Count dropped requests, and log the first drop."""
        if not self.dropped["disk"]:
            LOG.error("the prediction log drops records: %s", why)
        self.dropped["disk"] += count

    def _segment_of(self, hour: int) -> Segment:
        if self._segment and self._segment.hour != hour:
            self._close_segment()
        if self._segment is None:
            self._number += 1
            self._segment = Segment(self._folder, self._number, hour, self._header)
        return self._segment

    def _close_segment(self) -> None:
        if self._segment:
            try:
                self._segment.close()
            except OSError:
                LOG.exception("a segment of the prediction log cannot be closed")
            self._segment = None

    def _read_spool_size(self) -> None:
        """Read the size of the folder, which shrinks when segments are uploaded."""
        try:
            self.spool_bytes = segments.spooled(self._folder)
        except OSError:
            LOG.exception("the folder of the prediction log cannot be read")


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """Makes log records of requests, without the values of redacted columns."""

    positions: Sequence[int] | None
    """Indexes of the columns to keep; None keeps all."""
    redact: frozenset[str]
    """Names of the columns and outputs to leave out."""
    read: Callable[[str | None, bytes], Sequence[Row] | None]
    """Function that reads the rows of a body that is not plain."""
    salt: bytes
    """Secret key of the hash that replaces a caller's key."""

    def __call__(self, at: int, request: Request) -> Record:
        """Return the record. `at` is in microseconds since 1970."""
        rows: Any = request.rows if request.rows is not None else self.read(request.content_type, request.body)
        text = None
        if rows is None and not self.redact:
            text = request.body.decode(errors="replace")
        elif rows is not None and self.positions is not None:
            rows = [[row[position] for position in self.positions] for row in rows]
        response = (request.response.body if request.response else b"").decode()
        return Record(
            request_id=request.request_id,
            at=at,
            latency_ms=round((request.finished - request.arrived) * 1000, 3),
            rows=rows,
            body=text,
            response=self._without_redacted(response) if self.redact else response,
            experiment=request.experiment or None,
            unit=hmac.digest(self.salt, request.unit, "sha256")[:UNIT_BYTES].hex() if request.unit else None,
        )

    def _without_redacted(self, response: str) -> str:
        body = json.loads(response)
        predictions = cast("dict[str, Any]", body).get("predictions") if isinstance(body, dict) else body
        if isinstance(predictions, list):
            predictions = [self._part(one) for one in cast("list[Any]", predictions)]
        return json.dumps({"predictions": self._part(predictions)})

    def _part(self, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: part for key, part in cast("dict[str, Any]", value).items() if key not in self.redact}


def prediction_log(model: Model, settings: ServerSettings) -> PredictionLog | None:
    """Return the prediction log, or None if the settings disable it.

    Raises:
        ServingError: the folder is not writable, a column to redact does not exist, or the salt is too short.
    """
    folder, redact = settings.prediction_log_dir, frozenset(settings.prediction_log_redact)
    if folder is None or settings.prediction_log_sample == 0:
        return None
    salt = settings.unit_salt.get_secret_value()
    if settings.unit_header and len(salt) < SHORTEST_SALT:
        raise ServingError(
            f"UNIT_SALT has {len(salt)} characters, and the log of {settings.title} needs at least {SHORTEST_SALT}: "
            "without a secret, anyone could compute the hash of a known key; set it from a Secret",
            final=True,
        )
    inputs = [
        Field(name=column.name, kind=column.kind) for column in (model.signature.columns if model.signature else ())
    ]
    outputs = [Field(name=name, kind=kind, many=many) for name, kind, many in read_outputs(model.metadata)]
    names = {field.name for field in (*inputs, *outputs)}
    if names and redact - names:
        # A mistyped name would log the column that it should hide.
        raise ServingError(
            f"PREDICTION_LOG_REDACT names {', '.join(sorted(redact - names))}, which are neither inputs nor outputs of "
            f"{settings.title}; its columns are {', '.join(sorted(names))}; correct the name or remove it",
            final=True,
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "probe").write_bytes(b"")
        (folder / "probe").unlink()
    except OSError as error:
        raise ServingError(
            f"PREDICTION_LOG_DIR={folder} is not writable: {error.strerror}; set it to a writable folder"
        ) from error
    kept = [position for position, field in enumerate(inputs) if field.name not in redact]
    names_of_all = [field.name for field in inputs]
    return PredictionLog(
        folder,
        Header(
            inputs=[field for field in inputs if field.name not in redact],
            outputs=[field for field in outputs if field.name not in redact],
            role=settings.model_role,
        ),
        Limits(
            queue_bytes=QUEUE_BYTES,
            spool_bytes=settings.prediction_log_spool_bytes,
            segment_bytes=settings.prediction_log_segment_bytes,
            segment_seconds=settings.prediction_log_segment_seconds,
        ),
        sample=settings.prediction_log_sample,
        record=Recorder(
            positions=kept if redact else None,
            redact=redact,
            salt=salt.encode(),
            read=lambda content_type, body: model.rows_by_mlflow(content_type, body, names_of_all),
        ),
    )


def _size(request: Request) -> int:
    return len(request.body) + (len(request.response.body) if request.response else 0) + len(request.unit) + OVERHEAD
