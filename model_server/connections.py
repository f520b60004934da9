"""HTTP connections with limits on time, header size and number, on top of uvicorn's.

uvicorn alone waits forever for an incomplete request, buffers headers of any size and number, keeps a response until
the client reads it, reads without end the rest of a body whose request has its response, cuts connections on shutdown
while a request may be arriving, and loses the body of a request with an Upgrade header. This module limits or corrects
each of these.
"""

import asyncio
import math
from array import array
from functools import partial
from typing import TypeAlias, cast

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from model_server.body_budget import SLOW_BYTES_PER_SECOND, BodyBudget

HEAD_SECONDS = 10
"""Seconds from the first byte of a request until its headers must be complete."""
HEAD_BYTES = 64 * 1024
"""Bytes that a client may send without completing the headers or a part of the body."""
MOST_HEADERS = 128
"""Largest number of header lines of one request; a short line needs twenty times its bytes in memory."""
MOST_AHEAD = 32
"""Largest number of requests that a client may send before it has the response to the first one."""
DISCARD_BYTES, DISCARD_SECONDS = 40 * 1024 * 1024, 10
"""Limits for the rest of a body whose request has its response. It is read and discarded, because a client that cannot
send its body may not read the response."""
LINGER_SECONDS = 2
"""Seconds for which a stopping server still reads idle connections, so that a request already sent gets a response."""
MOST_CONNECTIONS = 1000
"""Largest number of open connections to one port.

One more ends the request of a slow sender, else it closes the longest idle connection, else it ends the request of the
slowest sender. It is refused if all requests are complete.
"""
MOST_PROBES = 64
"""Largest number of open connections to the port for probes and metrics."""
OFFERS = frozenset({b"upgrade", b"http2-settings"})
"""Headers that offer an upgrade to another protocol. The server supports none, so it ignores them (RFC 9110, 7.8)."""
SHUTTING_DOWN, PAGES_ONLY, BODY_BUDGET = "shutting_down", "pages_only", "body_budget"
"""Keys of the state that the connections of a port share with their requests: the server stops; the port serves pages
but no predictions; the budget of the request bodies."""
_Timer: TypeAlias = asyncio.TimerHandle


class Connection(HttpToolsProtocol):
    """Connection of one client.

    When the server shuts down, it sets the key SHUTTING_DOWN in the state of each later request's scope.
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
        self._excess = False  # whether the client exceeds a limit on headers
        self._discarded: int | None = None  # bytes of a body whose request has its response
        self._discard_timer: _Timer | None = None
        self._budget = cast("BodyBudget | None", app_state.get(BODY_BUDGET))
        self._head_timer: _Timer | None = None
        self._write_timer: _Timer | None = None

    @property
    def busy(self) -> bool:
        """Return whether a request has no complete response yet."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn sets it with the first request
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the idle timer, and make room if there are too many connections."""
        super().connection_made(transport)
        self._wait_for_more()
        most = MOST_PROBES if PAGES_ONLY in self.app_state else MOST_CONNECTIONS
        if len(self.connections) > most and not self._made_room():
            self._refuse(503, f"All {most} connections are in use; try again later.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        super().connection_lost(exc)
        self._count_unread(0)
        self._unset_keepalive_if_required()
        for timer in (self._head_timer, self._write_timer, self._discard_timer):
            if timer:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse the data; refuse headers that are too large or arrive too slowly."""
        self._unfinished += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._discarded is not None:
            self._discarded += len(data)
            if self._discarded > DISCARD_BYTES:
                self.transport.close()
        elif self._excess or self._unfinished > HEAD_BYTES or len(self.headers or ()) > MOST_HEADERS:
            limits = f"{MOST_HEADERS} lines or {HEAD_BYTES} bytes"
            self._refuse(431, f"The headers exceed {limits}; send fewer or shorter headers, and no requests ahead.")
        elif not self.busy and not self._head_timer:
            late = f"The headers were not complete within {HEAD_SECONDS} seconds; send them at once."
            self._head_timer = self.loop.call_later(HEAD_SECONDS, partial(self._refuse, 408, late))

    def on_headers_complete(self) -> None:
        """Cancel the header timer and start the request."""
        if self._offers_upgrade:
            return  # the request is parsed again without the offer
        self._excess = self._excess or len(self.headers) > MOST_HEADERS or len(self.pipeline) >= MOST_AHEAD
        if self._excess:
            return
        self._unfinished = 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        self._unfinished = 0
        if not self._excess:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Finish the request's body."""
        if self._offers_upgrade or self._excess:
            return
        self._unfinished = 0
        super().on_message_complete()
        if self._discarded is not None:
            self._discarded = None
            self._set_discard_timer(None)
            self._wait_for_more()

    def on_response_complete(self) -> None:
        """Mark the connection as idle, or start the next pipelined request."""
        super().on_response_complete()
        self.idle_since = self.loop.time()
        if self.cycle.more_body and not self.busy and not self.transport.is_closing():
            self._discarded = 0
            self._set_discard_timer(self.loop.call_later(DISCARD_SECONDS, self.transport.close))
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._limit_writing()

    def pause_writing(self) -> None:
        """Limit how long a client may leave a response unread, to the keep-alive time, and count its bytes."""
        super().pause_writing()
        self._limit_writing()
        self._count_unread(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Cancel the time limit for an unread response."""
        super().resume_writing()
        self._count_unread(0)
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

        uvicorn calls this for each connection when the server gets the signal to stop.
        """
        self.app_state[SHUTTING_DOWN] = True
        if self.busy:
            super().shutdown()
        else:
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self.busy:
            self.transport.close()

    def _made_room(self) -> bool:
        """Evict a slow sender, else close the longest idle connection, else evict the slowest sender."""
        if self._budget and self._budget.free_connection(SLOW_BYTES_PER_SECOND):
            return True
        others = cast("set[Connection]", self.connections) - {self}
        if idle := [one for one in others if not one.busy and not one.transport.is_closing()]:
            min(idle, key=lambda one: one.idle_since).transport.close()
            return True
        return self._budget is not None and self._budget.free_connection(math.inf)

    def _count_unread(self, size: int) -> None:
        if self._budget:
            self._budget.take_unread(self.transport, size)

    def _set_discard_timer(self, timer: _Timer | None) -> None:
        if self._discard_timer:
            self._discard_timer.cancel()
        self._discard_timer = timer

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
