"""Route to an endpoint, or to another Service, through `kubectl port-forward`.

kubectl forwards to one pod, and a release ends that pod; a new port-forward then replaces the broken one.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from contract import names
from runs.cluster import Cluster
from runs.errors import ClusterError


@dataclass
class Tunnel:
    """Port-forward to the Service of an endpoint, or to another one, open while the block runs."""

    cluster: Cluster
    service: str
    """Name of the Service."""
    namespace: str = names.SERVING
    """Namespace of the Service."""
    port: int = 80
    """Port of the Service."""
    address: str = ""
    """URL of the forwarded port on this machine."""
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self._forward()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def renew(self, failed: str) -> None:
        """Open another port-forward if the address is still the failed one; if none opens, keep the old address."""
        if failed == self.address:
            self._stack.close()
            try:
                self._forward()
            except ClusterError:
                return

    def _forward(self) -> None:
        self.address = self._stack.enter_context(self.cluster.forwarded(self.namespace, self.service, self.port))
