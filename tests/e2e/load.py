"""A bounded load at a fixed rate: each answer is kept with who gave it and how long after its time it came.

It is a process of its own, `python -m tests.e2e.load HOST PORT PER_SECOND KEY_HEADER SECONDS HEADER`, which comes
before all others: clients elsewhere share no CPU with what they ask, or with a test. It reads the body from stdin, ends
at SIGTERM, and prints a line of JSON for each answer.
"""

import itertools
import json
import math
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench import arrivals
from bench.listening import listening

MOST_SECONDS = 900
KEYS = 1000
VERSION = re.compile(rb"x-model-version: *(\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answered:
    """One answer, or the end of the wait for it: when its request was due, by `time.monotonic`, and the seconds since.

    `failure` says in words what was wrong, if anything was.
    """

    due: float
    seconds: float
    version: str
    failure: str | None


@dataclass
class Answers:
    """Responses to the load."""

    all: list[Answered] = field(default_factory=list[Answered])

    @property
    def failures(self) -> list[str]:
        return [answer.failure for answer in self.all if answer.failure]

    @property
    def by_version(self) -> Counter[str]:
        return Counter(answer.version for answer in self.all)

    @property
    def latest(self) -> str:
        return self.all[-1].version if self.all else ""

    def p99(self, since: float, until: float = math.inf) -> float:
        """Milliseconds within which 99 of 100 requests that were due in between were answered."""
        seconds = sorted(answer.seconds for answer in self.all if since <= answer.due < until)
        return 1000 * seconds[math.ceil(0.99 * len(seconds)) - 1]

    def read(self, lines: Iterable[str]) -> None:
        """All that the lines say."""
        for line in lines:
            self.all.append(Answered(**json.loads(line)))


@contextmanager
def load(
    url: str,
    body: object,
    *,
    per_second: int = 100,
    key_header: str = "",
    seconds: int = MOST_SECONDS,
    header: str = "",
) -> Generator[Answers]:
    """Sends `per_second` requests a second for as long as the block runs, however slow the answers are.

    With `key_header`, each request names one of KEYS callers in it. Each has the line `header`. After `seconds`, the
    load ends.

    Nothing is tried again: a request that got no answer counts as a failure.
    """
    answers, where = Answers(), urlsplit(url)
    command = [sys.executable, "-m", __name__, where.hostname or "", str(where.port), str(per_second), key_header]
    command += [str(seconds), header]
    with listening(command, answers.read, stdin=json.dumps(body)) as process:
        yield answers
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}")


def main() -> None:
    """The load, to its end."""
    host, port, per_second, key_header, seconds, header = sys.argv[1:]
    start, callers = time.monotonic(), itertools.cycle(range(KEYS))

    def with_key(request: bytes) -> bytes:
        return request.replace(b"\r\n", f"\r\n{key_header}: {next(callers)}\r\n".encode(), 1)

    def tell(answer: arrivals.Answer, head: bytes, body: bytes) -> None:
        version = VERSION.search(head)
        whole = answer.status == 200 and b'"predictions"' in body
        said = {
            "due": start + answer.due,
            "seconds": answer.took,
            "version": version[1].decode() if version else "none named",
            "failure": None if whole else f"{answer.status or 'cut'} {body[:200].decode(errors='replace')}",
        }
        print(json.dumps(said), flush=True)

    with suppress(OSError):  # without autogroups, or without the right to
        Path("/proc/self/autogroup").write_text("-20")
    request = arrivals.post(sys.stdin.read())
    if header:
        request = request.replace(b"\r\n", f"\r\n{header}\r\n".encode(), 1)
    sent = arrivals.Load(int(port), request, host, tell)
    if key_header:
        sent.vary = with_key
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sent.stop())
    arrivals.run(sent, [(float(per_second), float(seconds))])


if __name__ == "__main__":
    main()
