"""JSON logs on standard output, one line for each event. Payloads are never logged, and successful requests neither."""

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from pathlib import Path

REQUEST: ContextVar[dict[str, str] | None] = ContextVar("REQUEST", default=None)
"""Fields of every log line about the current request: its ID, and its trace ID if it has one."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (UTC), level, message, and the fields of `extra={"about": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line.

        It holds an exception's type and place only, since its message may quote the client's data.
        """
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= (REQUEST.get() or {}) | getattr(record, "about", {})
        if record.exc_info and record.exc_info[1]:
            line["exception"] = place_of(record.exc_info[1])
        return json.dumps(line)


def place_of(error: BaseException) -> str:
    """Return type, file and line of an error, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + where


def configure() -> None:
    """Write all log lines of this process, Python warnings included, to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the server logs start and stop itself
