"""Auto-named objects that the engine may not have written down yet.

The engine draws a new random seed in each run. If it is killed after it has asked for an auto-named object and before
the object is in its state, the next run makes another one under another name and the first is nobody's. So such an
object carries a mark until the engine has had time to write it down, and a create removes what still has it.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lab.providers.kubernetes.cluster import Cluster
from lab.providers.kubernetes.objects import identity, name_of, namespace_of
from lab.providers.values import Tree, section

MARK: Final = "lab.mlops/unconfirmed"
ENGINE_WRITES_WITHIN_SECONDS: Final = 5.0


def marked(body: Tree) -> Tree:
    """`body` with the mark."""
    metadata = section(body, "metadata")
    return {**body, "metadata": {**metadata, "annotations": {**section(metadata, "annotations"), MARK: "true"}}}


def unmarked(live: Tree) -> Tree:
    """`live` as the program sees it: without the mark."""
    annotations = section(live, "metadata", "annotations")
    if MARK not in annotations:
        return live
    kept = {name: text for name, text in annotations.items() if name != MARK}
    return {**live, "metadata": {**section(live, "metadata"), "annotations": kept}}


@dataclass
class Unconfirmed:
    """Those of one run."""

    alive: Callable[[], bool]
    _waiting: list[tuple[float, Callable[[], None]]] = field(default_factory=list[tuple[float, Callable[[], None]]])
    _known: set[str] = field(default_factory=set[str])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def know(self, tree: Tree) -> None:
        """This object is in the engine's state, or about to be: it is not left over."""
        with self._lock:
            self._known.add(f"{tree.get('kind')} {identity(tree)}")

    def confirm_later(self, cluster: Cluster, live: Tree, manager: str) -> None:
        """Takes the mark off once the engine has had time to write the object down."""

        def confirm() -> None:
            cluster.annotate(live, {MARK: None}, manager=manager)

        with self._lock:
            self._waiting.append((time.monotonic() + ENGINE_WRITES_WITHIN_SECONDS, confirm))

    def confirm(self, *, everything: bool = False) -> None:
        """Takes off the marks whose time has come; `everything` at the end of a run. None once the engine has died."""
        if not self.alive():
            return
        now = time.monotonic()
        with self._lock:
            due = [act for when, act in self._waiting if everything or when <= now]
            self._waiting = [] if everything else [entry for entry in self._waiting if entry[0] > now]
        for act in due:
            act()

    def left_over(self, cluster: Cluster, body: Tree, manager: str) -> list[Tree]:
        """Objects that an interrupted run made for the same resource and that no state holds."""
        with self._lock:
            known = {*self._known, f"{body.get('kind')} {identity(body)}"}
        return [
            each
            for each in cluster.managed(body["apiVersion"], body["kind"], namespace_of(body), manager)
            if MARK in section(each, "metadata", "annotations")
            and f"{each.get('kind')} {identity(each)}" not in known
            and name_of(each) != name_of(body)
            and not section(each, "metadata").get("deletionTimestamp")
        ]
