"""Sends invalid requests to our model server: half of the time with schemathesis, half as bytes over raw sockets.

schemathesis reads the server's /openapi.json and sends requests that match it or almost match it. The other half
changes valid requests, headers and bodies, at random positions. A case with a wrong response is printed with its
number, and `--case NUMBER` prints its bytes. The exit code is 1 if a limit is missed. The tables are Markdown.

Run it as `python -m bench.fuzz`.
"""

import argparse
import contextlib
import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.serving import PEERS, answers, body, judge, our_server, resident, table

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
DOCUMENTED = {503, 504}  # 5xx statuses that are no fault
SENDERS = 8
LISTEN = 0.3  # seconds to wait for a response to a request that may be incomplete
MEMORY = 1.05
WARM = 20_000  # cases before the memory is measured
SETTLE = 30  # seconds for the memory to go back
HEAD = b"POST /invocations HTTP/1.1\r\nHost: fuzz\r\nContent-Type: application/json\r\nX-Request-Id: a\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
LINES = (
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Content-Encoding: gzip",
    b"Expect: 100-continue",
    b"Connection: close",
    b"Connection: Upgrade\r\nUpgrade: websocket",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ",
    b"Content-Type: application/json; charset=utf-16",
    b"Content-Type: text/csv",
    b"Content-Type: \xff\xfe",
    b"traceparent: 00-zz-zz-zz",
    b"X-Request-Id: " + b"x" * 5000,
    b": empty",
    b" folded: yes",
)
TOKENS = (
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b'"',
    b"{",
    b"[" * 500,
    b"\\ud800",
    b"\x00",
    b"\xff",
    b"",
)
BODIES = (
    *(body(rows).encode() for rows in (1, 3, 100)),
    json.dumps({"dataframe_records": [dict.fromkeys("abcd", 0.5)]}).encode(),
    json.dumps({"inputs": {name: [1, 2] for name in "abcd"}, "params": {"k": 1}}).encode(),
    json.dumps({"instances": [dict.fromkeys("abcd", None)]}).encode(),
    b"a,b,c,d\n1,2,3,4\n",
    gzip.compress(body(1).encode()),
)


class Fuzzer:
    """Sends cases until the time is over. `codes` counts the responses; `faults` describes the wrong ones."""

    def __init__(self, port: int) -> None:
        self.codes: Counter[str] = Counter()
        self.faults: list[str] = []
        self._port = port
        self._lock = threading.Lock()

    def run(self, numbers: Sequence[int], until: float) -> None:
        """Send the cases with these numbers, until the time is over."""
        for number in numbers:
            if time.monotonic() > until:
                return
            response = self.send(case(number))
            code = response.removeprefix(INTERIM)[9:12].decode("latin-1") or "no answer"
            with self._lock:
                self.codes[code] += 1
                if response and not response.startswith(b"HTTP/1.1 "):
                    self.faults.append(f"case {number}: no HTTP: {response[:60]!r}")
                elif code.startswith("5") and int(code) not in DOCUMENTED:
                    self.faults.append(f"case {number}: {code}: {response[-200:]!r}")

    def send(self, request: bytes) -> bytes:
        """Return the server's response, which is empty if it waits for more data or closes the connection."""
        response = b""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection,
        ):
            connection.sendall(request)
            connection.settimeout(LISTEN)
            while not complete(response) and (part := connection.recv(65536)):
                response += part
        return response


def complete(response: bytes) -> bool:
    """Return whether the response is complete, not counting an interim 100 response."""
    return b"\r\n\r\n" in response.removeprefix(INTERIM)


def case(number: int) -> bytes:
    """Return a valid request with some random faults."""
    rng = random.Random(number)
    content = rng.choice(BODIES)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        content = rng.choice(BREAKS)(content, rng)
    lines = [rng.choice(LINES) for _ in range(rng.choice((0, 0, 1, 2)))]
    if rng.random() < 0.15:
        lines.append(b"Transfer-Encoding: chunked")
        content = chunked(content, rng)
    elif rng.random() < 0.95:
        lines.append(b"Content-Length: %d" % len(content))
    head = HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        head = rng.choice(BREAKS)(head, rng)
    return (head + content) * rng.choice((1, 1, 1, 1, 3))


def chunked(content: bytes, rng: random.Random) -> bytes:
    """Return the content in chunks, the last of which may be missing or invalid."""
    cut = rng.randrange(len(content) + 1)
    parts = [content[:cut], content[cut:]]
    response = b"".join(b"%x%s\r\n%s\r\n" % (len(part), rng.choice((b"", b";x=y")), part) for part in parts if part)
    return response + rng.choice(
        (b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"", b"-1\r\n\r\n", b"ffffffffffffffffff\r\n")
    )


def flip(data: bytes, rng: random.Random) -> bytes:
    """Replace one byte."""
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + rng.randbytes(1) + data[at + 1 :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Remove a part."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[end:]


def double(data: bytes, rng: random.Random) -> bytes:
    """Repeat a part."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Insert a random token."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(TOKENS) + data[at:]


BREAKS: Sequence[Callable[[bytes, random.Random], bytes]] = (flip, cut, double, insert)


def main() -> None:
    """Print the responses by status, and the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="minutes in total (default: 10)")
    parser.add_argument("--seed", type=int, default=1, help="each seed gives other cases (default: 1)")
    parser.add_argument("--case", type=int, help="print one case and exit")
    parser.add_argument(
        "--venv", type=Path, default=Path.home() / ".cache" / "mlops-bench", help="virtual environment for schemathesis"
    )
    options = parser.parse_args()
    if options.case is not None:
        sys.exit(repr(case(options.case)))
    tool = schemathesis(options.venv)
    with our_server("logistic") as served:
        os.sched_setaffinity(0, {1})
        fuzzer, first = Fuzzer(served.port), options.seed * 10**9
        send(fuzzer, range(first - WARM, first), options.minutes * 12)
        before = resident(served.group)
        send(fuzzer, range(first, first + 10**8), options.minutes * 30)
        fits = by_schema(tool, served.url.removesuffix("/invocations"), options, served.folder)
        after = settled(served.group, before)
        alive = answers(served.url)
        strange = [line for line in served.log.read_text().splitlines() if not line.startswith("{")]
    sys.exit(show(fuzzer, before, after, {"schemathesis finds no fault": fits, "the server predicts": alive}, strange))


def schemathesis(venv: Path) -> Path:
    """Install schemathesis in the version of the peers' lock; return the path of its program."""
    python = venv / "bin" / "python"
    if not shutil.which("uv"):
        sys.exit("uv is not installed; run `make .venv/.ready`")
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", str(venv)], check=True)
    lock = ["--constraint", str(PEERS / "requirements.lock"), "schemathesis"]
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), *lock], check=True)
    return venv / "bin" / "st"


def send(fuzzer: Fuzzer, numbers: range, seconds: float) -> None:
    """Send cases from several threads for this many seconds."""
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=fuzzer.run, args=(numbers[at::SENDERS], until)) for at in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def by_schema(tool: Path, url: str, options: argparse.Namespace, folder: Path) -> bool:
    """Run schemathesis. Return whether it found no fault; if it did, print its output."""
    time_up = ["--max-time", str(max(1, int(options.minutes * 30))), "--phases", "examples,coverage,fuzzing"]
    ask = [
        str(tool),
        "run",
        f"{url}/openapi.json",
        "--checks",
        CHECKS,
        "--seed",
        str(options.seed),
        "--warnings",
        "off",
    ]
    done = subprocess.run([*ask, *time_up], capture_output=True, text=True, check=False, cwd=folder)
    print(
        "\n".join(done.stdout.splitlines()[-80:] if done.returncode else done.stdout.splitlines()[-8:]), file=sys.stderr
    )
    return done.returncode == 0


def settled(group: int, before: float) -> float:
    """Return the MB in memory once it is near `before`, or after SETTLE seconds."""
    deadline = time.monotonic() + SETTLE
    while resident(group) > MEMORY * before and time.monotonic() < deadline:
        time.sleep(1)
    return resident(group)


def show(fuzzer: Fuzzer, before: float, after: float, found: dict[str, bool], strange: Sequence[str]) -> int:
    """Print the outcome of the cases. Return the exit code."""
    for fault in [*fuzzer.faults[:20], *strange[:20]]:
        print(fault, file=sys.stderr)
    limits = {
        f"of the 5xx, only {', '.join(map(str, sorted(DOCUMENTED)))}": not fuzzer.faults,
        **found,
        "every line of the log is JSON": not strange,
        f"memory is back within {MEMORY - 1:.0%}": after <= MEMORY * before,
    }
    print(f"\n{fuzzer.codes.total():,} broken requests, byte by byte.\n")
    print(table(["answer", "times"], [[code, f"{count:,}"] for code, count in sorted(fuzzer.codes.items())]))
    print(f"\nMemory: {before:.1f} MB before, {after:.1f} MB after.")
    return 0 if judge(limits) else 1


if __name__ == "__main__":
    main()
