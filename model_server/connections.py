"""A client's connection, as far as uvicorn leaves open what a client may do with it.

uvicorn waits for ever for a request that never ends, keeps as much of its head as comes, and holds an answer until it
is taken; when it is told to stop it cuts connections on which a request may be on its way; and it loses the body of a
request that offers another protocol. Here each of these has an end.
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
"""Within which a request line and its headers have come, once their first byte has."""
HEAD_BYTES = 64 * 1024
"""Most bytes that may come without making a head, or a part of a body, complete."""
LINGER_SECONDS = 2
"""How long a stopping server still listens on idle connections: longer than a request travels in a data centre."""
MOST = 1000
"""Connections at once: within the 1,024 files of a usual limit. One more, and the longest idle one is closed for it."""
OFFERS = frozenset({b"upgrade", b"http2-settings"})
"""Headers of an offer to go on in another protocol. Nothing here follows one, so RFC 9110 (7.8) ignores them."""
_Timer: TypeAlias = asyncio.TimerHandle


class Connection(HttpToolsProtocol):
    """One client's connection.

    A request that comes after the order to stop finds `leaving` in the state of its scope.
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
        self._unfinished = 0
        self._head_timer: _Timer | None = None
        self._stalled: _Timer | None = None

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # as uvicorn leaves it until the first request
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The connection counts; what never says a word is closed like one that has nothing more to say."""
        super().connection_made(transport)
        self._wait_for_more()
        if len(self.connections) > MOST:
            others = cast("set[Connection]", self.connections) - {self}
            idle = [one for one in others if not one.busy]
            if idle:
                min(idle, key=lambda one: one.idle_since).transport.close()
            else:
                self._refuse(503, f"{MOST} connections are in use.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing waits for it any more."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        for timer in (self._head_timer, self._stalled):
            if timer:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Heads that do not end are refused, by their size or by the time that they take."""
        self._unfinished += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unfinished > HEAD_BYTES:
            self._refuse(431, f"The headers are over {HEAD_BYTES} bytes.")
        elif not self.busy and not self._head_timer:
            late = f"The headers did not come within {HEAD_SECONDS} seconds."
            self._head_timer = self.loop.call_later(HEAD_SECONDS, partial(self._refuse, 408, late))

    def on_headers_complete(self) -> None:
        """A request begins."""
        if self._offered:
            return  # it begins again without the offer
        self._unfinished = 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of its body is there."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        if self._offered:
            return
        self._unfinished = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The connection is idle, or takes what was sent ahead."""
        super().on_response_complete()
        self.idle_since = self.loop.time()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._give_time()

    def pause_writing(self) -> None:
        """The client does not take its answer: it has as long as an idle connection has."""
        super().pause_writing()
        self._give_time()

    def resume_writing(self) -> None:
        """It took it."""
        super().resume_writing()
        if self._stalled:
            self._stalled.cancel()
            self._stalled = None

    def timeout_keep_alive_handler(self) -> None:
        """The connection closes; an answer that was never taken is dropped."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    @property
    def _offered(self) -> bool:
        """Whether the request offers another protocol. CONNECT is no offer: what follows it is no HTTP."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def start_again(self, rest: bytes) -> None:
        """Reads the request whose headers are here as if it had offered nothing; its body, or a part of it, is `rest`.

        The parser stops for good at an offer, so that another one goes on.
        """
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            said = value
            if name == b"connection":
                said = b",".join(token for token in value.split(b",") if token.strip().lower() not in OFFERS)
            if name not in OFFERS and (said or not value):
                lines.append(b"%s: %s" % (name, said))
        self.parser = _Parser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", rest]))

    def shutdown(self) -> None:
        """A request in work is answered; an idle connection is listened to a little longer.

        Called for each connection when the server is told to stop.
        """
        self.app_state["leaving"] = True
        if self.busy:
            super().shutdown()
        else:
            self.loop.call_later(LINGER_SECONDS, self._leave)

    def _leave(self) -> None:
        if not self.busy:
            self.transport.close()

    def _wait_for_more(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _give_time(self) -> None:
        self._stalled = self._stalled or self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _refuse(self, status: int, sentence: str) -> None:
        """Said where nothing else is about to be said; then the connection closes."""
        if self.transport.is_closing():
            return
        if not self.busy:
            head = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(sentence)
            self.transport.write(STATUS_LINE[status] + head + sentence.encode())
        self.transport.close()


class _Parser(HttpRequestParser):
    """A parser of requests that hands those with an offer of another protocol back to their connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._connection = connection

    def feed_data(self, data: "bytes | bytearray | memoryview[int] | array[int]") -> None:
        """Parses what came."""
        try:
            super().feed_data(data)
        except HttpParserUpgrade as offer:
            if self.get_method() == b"CONNECT":
                raise
            self._connection.start_again(bytes(data)[cast("int", offer.args[0]) :])
