"""Parses the address of a file: `s3://BUCKET/KEY`, `file:///PATH` or a path. Imports nothing of this project."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

SCHEME = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
FORMS = "write s3://BUCKET/KEY, file:///PATH or a path"


class LocationError(ValueError):
    """The address names no file; the message says why, and what to write instead."""


@dataclass(frozen=True)
class S3Object:
    """An object in a bucket. The key is exactly what S3 calls it: `#`, `?` and `%` mean nothing in it."""

    bucket: str
    key: str


def parse(uri: str) -> S3Object | Path:
    """Return the object or the path that the URI names.

    An S3 URI is no web URI: all that follows the bucket is the key. A file URI (RFC 8089) has no query and no fragment
    either, and writes characters as `%20`.

    Raises:
        LocationError: the scheme is unknown, or a part of the address is missing.
    """
    found = SCHEME.fullmatch(uri)
    if not found:
        return Path(uri)
    rest = found["rest"]
    match found["name"].lower():
        case "s3":
            bucket, _, key = rest.partition("/")
            if not bucket or not key:
                raise LocationError("the bucket or the key is missing; write s3://BUCKET/KEY")
            return S3Object(bucket, key)
        case "file":
            host, slash, path = rest.partition("/")
            if host not in {"", "localhost"} or not slash:
                raise LocationError(f"{host or 'nothing'} stands where no host may stand; write file:///PATH")
            return Path(unquote(slash + path))
        case scheme:
            raise LocationError(f"{scheme}:// is not known; {FORMS}")
