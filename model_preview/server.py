"""Address of an MLflow server. This module imports no HTTP library, because most previews send no request."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Server:
    """MLflow server as this machine reaches it."""

    uri: str
    """Address, `http://` or `https://`; user and password in it are sent, and never shown."""
    token: str = field(default="", repr=False)
    """Bearer token; empty if the server needs none. White space around it does not count."""
    host: str = ""
    """Host header for a port that is forwarded on this machine, which needs no proxy; empty for other addresses."""
