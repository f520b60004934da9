"""The way to an endpoint through kubectl, dug anew when it breaks: kubectl leads to one pod, and a release ends it."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from contract import names
from runs.cluster import Cluster
from runs.errors import ClusterError


@dataclass
class Tunnel:
    """`address` leads to the Service `endpoint` while the block runs."""

    cluster: Cluster
    endpoint: str
    address: str = ""
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self._dig()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def renew(self, failed: str) -> None:
        """Another tunnel, if the address is still the one that failed; where none can be dug, the old one stays."""
        if failed == self.address:
            self._open.close()
            try:
                self._dig()
            except ClusterError:
                return

    def _dig(self) -> None:
        self.address = self._open.enter_context(self.cluster.forwarded(names.SERVING, self.endpoint, 80))
