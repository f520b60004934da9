"""Memory budget for request bodies that are received, queued or predicted, and for responses that clients do not read.

Without it, many bodies at once fill the container's memory, and the kernel kills the server. When the budget is used
up, the server ends the requests whose bodies arrive slowest, so a client that stops in the middle of a body makes room
for clients that send; or it drops the response that has been unread longest, if such responses use more memory.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import exp
from pathlib import Path
from time import monotonic
from typing import Literal, TypeAlias

CGROUPS = Path("/sys/fs/cgroup")
MEMORY_SHARE = 8
"""The budget is the memory limit divided by this. Model, libraries and decoded rows need the rest."""
RATE_SECONDS = 1.0
"""Seconds over which a sender's rate is averaged."""
NEW_SECONDS = 0.25
"""Seconds for which a sender keeps its connection whatever its rate is."""
SLOW_BYTES_PER_SECOND = 10_000
"""Rate below which a sender is slow: it loses its place before an idle connection does."""
Reason: TypeAlias = Literal["memory", "connections", "unread"]


def memory_limit(cgroups: Path = CGROUPS) -> int:
    """Return the container's memory limit in bytes, or the machine's memory if that is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in (cgroups / "memory.max", cgroups / "memory/memory.limit_in_bytes"):  # cgroups version 2, version 1
        if file.is_file() and (limit := file.read_text().strip()) != "max":
            return min(machine, int(limit))
    return machine


class Sender:
    """Client whose request body is incomplete."""

    def __init__(self, cut: Callable[[], None], now: float) -> None:
        self.held = 0
        """Bytes of the body in memory."""
        self.evicted = False
        """True if the server ends the request, to free memory."""
        self.cut = cut
        self.began = self._last = now
        self._recent = 0.0  # bytes; older ones count less

    def add(self, size: int, now: float) -> None:
        """Count bytes that have arrived."""
        self.held += size
        self._recent = self._recent * exp((self._last - now) / RATE_SECONDS) + size
        self._last = now

    def rate(self, now: float) -> float:
        """Return the bytes per second of the last time, about RATE_SECONDS."""
        age = max(now - self.began, 0.001)
        recent = self._recent * exp((self._last - now) / RATE_SECONDS)
        return recent / RATE_SECONDS / (1 - exp(-age / RATE_SECONDS))


class BodyBudget:
    """Bytes of bodies that may be in memory at the same time. Only the event loop uses it.

    `used` counts all bodies, `senders` are the clients whose bodies are incomplete, and `evicted` counts the clients
    that were cut to make room, by reason.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self.senders: set[Sender] = set()
        self.evicted: Counter[Reason] = Counter()
        self._unread: dict[asyncio.Transport, int] = {}  # bytes of responses, the oldest first

    def has_room(self, size: int) -> bool:
        """Return whether a body of this size fits, if necessary in place of incomplete bodies and unread responses."""
        if self.used + size <= self.limit:
            return True
        evictable = sum(sender.held for sender in self.senders) + sum(self._unread.values())
        return self.used - evictable + size <= self.limit

    @contextmanager
    def receiving(self, cut: Callable[[], None]) -> Generator[Sender]:
        """Register a client whose body is incomplete, and give back its bytes when its request has a response.

        An eviction calls `cut`. The caller removes the sender from `senders` when the body is complete.
        """
        sender = Sender(cut, monotonic())
        self.senders.add(sender)
        try:
            yield sender
        finally:
            self.senders.discard(sender)
            self.release(sender.held)

    def add(self, sender: Sender, size: int) -> None:
        """Count bytes of an incomplete body, and make room if the budget is used up."""
        if not sender.evicted:
            sender.add(size, monotonic())
            self.take(size)

    def take(self, size: int) -> None:
        """Count bytes of a body, and make room if the budget is used up."""
        self.used += size
        while self.used > self.limit:
            holding = [sender for sender in self.senders if sender.held]
            if self._unread and sum(self._unread.values()) >= sum(sender.held for sender in holding):
                transport = next(iter(self._unread))
                self.take_unread(transport, 0)
                self.evicted["unread"] += 1
                transport.abort()
            elif holding:
                now = monotonic()
                # A body that is large and slow stays longest, so the rate is compared with the size.
                self._evict(min(holding, key=lambda one: one.rate(now) / one.held), "memory")
            else:
                break

    def take_unread(self, transport: asyncio.Transport, size: int) -> None:
        """Count the bytes of a response that the client of this connection has not read; 0 gives them back.

        A large response counts as a quarter of the budget, so that one alone does not use it up and is not dropped.
        """
        self.release(self._unread.pop(transport, 0))
        if size:
            counted = min(size, self.limit // 4)
            self.take(counted)
            self._unread[transport] = counted

    def release(self, size: int) -> None:
        """Give back the bytes of a request that has its response."""
        self.used -= size

    def free_connection(self, below: float) -> bool:
        """Evict the slowest sender if its rate is below this number of bytes per second; return whether it was."""
        now = monotonic()
        known = [one for one in self.senders if now - one.began >= NEW_SECONDS]
        slowest = min(known, key=lambda one: one.rate(now), default=None)
        if slowest is None or slowest.rate(now) >= below:
            return False
        self._evict(slowest, "connections")
        return True

    def _evict(self, sender: Sender, reason: Reason) -> None:
        sender.evicted = True
        self.senders.discard(sender)
        self.release(sender.held)
        sender.held = 0
        self.evicted[reason] += 1
        sender.cut()
