"""HTTP server that stands for the pods of one version: `python -m bench.echo PORT VERSION`.

It answers at once, with its version. A body of the word `slow` is never answered. GET /seen lists what it got.
After SIGUSR1, it refuses predictions as a model server that stops.
"""

import asyncio
import json
import re
import signal
import sys
from dataclasses import dataclass, field
from typing import cast

import uvloop

from model_server import responses

HEAD = re.compile(rb"(?i)\r\n(content-length|x-request-id|x-mlops-experiment): *([^\r]*)")


@dataclass
class Seen:
    """Requests for predictions that arrived."""

    requests: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    stops: bool = False

    def stop(self) -> None:
        """Refuse the predictions from now on."""
        self.stops = True


class Connection(asyncio.Protocol):
    """Connection of one client."""

    def __init__(self, version: str, seen: Seen) -> None:
        self._version, self._seen, self._read = version, seen, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport has no base class

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        self._read += data
        while True:
            head, found, rest = self._read.partition(b"\r\n\r\n")
            if not found:
                return
            values = {name.lower(): value.decode("latin-1") for name, value in HEAD.findall(head)}
            length = int(values.get(b"content-length", 0))
            if len(rest) < length:
                return
            body, self._read = rest[:length], rest[length:]
            if head.startswith(b"POST"):
                who, experiment = values.get(b"x-request-id", ""), values.get(b"x-mlops-experiment", "")
                self._seen.requests.append((who, experiment, length))
                if body == b"slow":
                    continue
                if self._seen.stops:
                    self._transport.write(_refusal())
                    continue
            answer = json.dumps(self._seen.requests) if head.startswith(b"GET /seen") else "{}"
            fields = f"x-model-version: {self._version}\r\ncontent-length: {len(answer)}"
            self._transport.write(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{answer}".encode())


def _refusal() -> bytes:
    said = responses.shutting_down(begun=False)
    fields = (*said.headers, (b"content-length", b"%d" % len(said.body)))
    return b"\r\n".join([b"HTTP/1.1 503 Service Unavailable", *(b": ".join(one) for one in fields), b"", said.body])


async def main() -> None:
    """Serve until the process is killed."""
    loop, seen = asyncio.get_running_loop(), Seen()
    loop.add_signal_handler(signal.SIGUSR1, seen.stop)
    server = await loop.create_server(lambda: Connection(sys.argv[2], seen), "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
