"""Logs as JSON, a line an event: one for an error, none for a success, and never a payload."""

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from pathlib import Path

REQUEST: ContextVar[dict[str, str] | None] = ContextVar("REQUEST", default=None)
"""What every line about the request in work carries: its id, and its trace where it came with one."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, message, and what `extra={"about": {...}}` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. An exception is its type and place: its message may hold what a client sent."""
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
    """Type, file and line of an error, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + where


def configure() -> None:
    """Every log line of this process, warnings of Python included, is JSON on standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # start and stop are told in our own words
