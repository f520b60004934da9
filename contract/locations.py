"""Parses the address of a file: `s3://BUCKET/KEY`, `file:///PATH` or a path. It imports only the standard library."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

SCHEME = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
FORMS = "write s3://BUCKET/KEY, file:///PATH or a path"


class LocationError(ValueError):
    """The address is not valid; the message says why, and what to write instead."""


@dataclass(frozen=True)
class S3Object:
    """Object in an S3 bucket."""

    bucket: str
    """Name of the bucket."""
    key: str
    """Key of the object, unescaped: `#`, `?` and `%` have no special meaning."""


def parse(uri: str) -> S3Object | Path:
    """Return the object or the path that the URI names.

    In an S3 URI everything after the bucket is the key. A file URI (RFC 8089) may hold escapes such as `%20`. Neither
    has a query or a fragment.

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
                raise LocationError(
                    f"a file URI must have no host, and this one has {host or 'no path'}; write file:///PATH"
                )
            return Path(unquote(slash + path))
        case scheme:
            raise LocationError(f"{scheme}:// is not known; {FORMS}")
