"""HTTP connections with limits on time, header size and number, on top of uvicorn's.

uvicorn alone waits forever for an incomplete request, buffers headers of any size, keeps a response until the client
reads it, cuts connections on shutdown while a request may be arriving, and loses the body of a request with an Upgrade
header. This module limits or corrects each of these.
"""

import asyncio
from array import array
from functools import partial
from typing import TypeAlias, cast

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

HEAD_SECONDS = 10
"""Seconds from the first byte of a request until its headers must be complete."""
HEAD_BYTES = 64 * 1024
"""Bytes that a client may send without completing the headers or a part of the body."""
LINGER_SECONDS = 2
"""Seconds for which a stopping server still reads idle connections, so that a request already sent gets a response."""
MOST_CONNECTIONS = 1000
"""Largest number of open connections, below the usual limit of 1,024 files; one more closes the longest idle one."""
OFFERS = frozenset({b"upgrade", b"http2-settings"})
"""Headers that offer an upgrade to another protocol. The server supports none, so it ignores them (RFC 9110, 7.8)."""
_Timer: TypeAlias = asyncio.TimerHandle


class Connection(HttpToolsProtocol):
    """Connection of one client.

    When the server shuts down, it sets the key `shutting_down` in the state of each later request's scope.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser = _Parser(self)
        self.idle_since: float = self.loop.time()
        self._unfinished = 0  # bytes since the last complete headers or part of a body
        self._head_timer: _Timer | None = None
        self._write_timer: _Timer | None = None

    @property
    def busy(self) -> bool:
        """Return whether a request has no complete response yet."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn sets it with the first request
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the idle timer, and close the longest idle connection if there are too many."""
        super().connection_made(transport)
        self._wait_for_more()
        if len(self.connections) > MOST_CONNECTIONS:
            others = cast("set[Connection]", self.connections) - {self}
            idle = [one for one in others if not one.busy]
            if idle:
                min(idle, key=lambda one: one.idle_since).transport.close()
            else:
                self._refuse(503, f"All {MOST_CONNECTIONS} connections are in use; try again later.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        for timer in (self._head_timer, self._write_timer):
            if timer:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse the data; refuse headers that are too large or arrive too slowly."""
        self._unfinished += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unfinished > HEAD_BYTES:
            self._refuse(431, f"The headers exceed {HEAD_BYTES} bytes; send fewer or shorter headers.")
        elif not self.busy and not self._head_timer:
            late = f"The headers were not complete within {HEAD_SECONDS} seconds; send them at once."
            self._head_timer = self.loop.call_later(HEAD_SECONDS, partial(self._refuse, 408, late))

    def on_headers_complete(self) -> None:
        """Cancel the header timer and start the request."""
        if self._offers_upgrade:
            return  # the request is parsed again without the offer
        self._unfinished = 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Finish the request's body."""
        if self._offers_upgrade:
            return
        self._unfinished = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Mark the connection as idle, or start the next pipelined request."""
        super().on_response_complete()
        self.idle_since = self.loop.time()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._limit_writing()

    def pause_writing(self) -> None:
        """Limit how long a client may leave a response unread, to the keep-alive time."""
        super().pause_writing()
        self._limit_writing()

    def resume_writing(self) -> None:
        """Cancel the time limit for an unread response."""
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, and drop a response that the client has not read."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    @property
    def _offers_upgrade(self) -> bool:
        """Return whether the request offers another protocol. CONNECT is no offer: it ends HTTP on the connection."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def parse_again(self, rest: bytes) -> None:
        """Parse the request again without its upgrade offer. `rest` is the part of the body received so far.

        The parser stops for good at an upgrade offer, so a new parser replaces it.
        """
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            kept = value
            if name == b"connection":
                kept = b",".join(token for token in value.split(b",") if token.strip().lower() not in OFFERS)
            if name not in OFFERS and (kept or not value):
                lines.append(b"%s: %s" % (name, kept))
        self.parser = _Parser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", rest]))

    def shutdown(self) -> None:
        """Let a request in progress finish; keep an idle connection open for LINGER_SECONDS.

        uvicorn calls this for each connection when the server is told to stop.
        """
        self.app_state["shutting_down"] = True
        if self.busy:
            super().shutdown()
        else:
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self.busy:
            self.transport.close()

    def _wait_for_more(self) -> None:
        """Start the timer after which uvicorn closes an idle connection."""
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _limit_writing(self) -> None:
        """Start the timer after which the connection is dropped, unless it runs already."""
        self._write_timer = self._write_timer or self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _refuse(self, status: int, sentence: str) -> None:
        """Send an error response unless another response is in progress, then close the connection."""
        if self.transport.is_closing():
            return
        if not self.busy:
            head = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(sentence)
            self.transport.write(STATUS_LINE[status] + head + sentence.encode())
        self.transport.close()


class _Parser(HttpRequestParser):
    """HTTP request parser that returns requests with an upgrade offer to their connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._connection = connection

    def feed_data(self, data: "bytes | bytearray | memoryview[int] | array[int]") -> None:
        """Parse the data."""
        try:
            super().feed_data(data)
        except HttpParserUpgrade as offer:
            if self.get_method() == b"CONNECT":
                raise
            self._connection.parse_again(bytes(data)[cast("int", offer.args[0]) :])
