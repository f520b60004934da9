"""Many trees walked at once: all trees, all rows, a level at a time."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[Any]
FEATURE_BITS = 16
FEATURE_MASK = (1 << FEATURE_BITS) - 1
# Rows at a time: their places in all trees stay in the CPU's cache.
CHUNK = 128


class Tree(Protocol):
    """A fitted scikit-learn tree: arrays with an entry for each node; a leaf has no children (-1)."""

    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]
    max_depth: int


class Forest:
    """The mean of the trees' values, the same to the last bit as adding them up one by one."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self._count = len(trees)
        self._depth = max(tree.max_depth for tree in trees)
        sizes = [len(tree.feature) for tree in trees]
        self._roots = np.cumsum([0, *sizes[:-1]])
        laid_out = [_lay_out(tree) for tree in trees]
        left = np.concatenate([left + root for (left, _, _, _), root in zip(laid_out, self._roots, strict=True)])
        feature = np.concatenate([feature for _, feature, _, _ in laid_out])
        # One number for both, since fetching from memory is what takes time.
        self._node = (left << FEATURE_BITS) | feature
        self._threshold = _rounded_down(np.concatenate([threshold for _, _, threshold, _ in laid_out]))
        self._value = np.concatenate([value for _, _, _, value in laid_out])

    def __call__(self, matrix: NDArray[np.float32]) -> Matrix:
        """For each row the mean over trees of the leaf it falls into.

        Args:
            matrix: rows by features, without NaN, as trees compare them: float32.
        """
        return np.concatenate([self._mean(matrix[at : at + CHUNK]) for at in range(0, len(matrix), CHUNK)])

    def _mean(self, matrix: NDArray[np.float32]) -> Matrix:
        rows, features = matrix.shape
        flat = np.ascontiguousarray(matrix).ravel()
        at = np.repeat(self._roots, rows)
        row: Matrix = np.tile(np.arange(0, rows * features, features, dtype=np.int64), self._count)
        node, place, right = np.empty_like(at), np.empty_like(at), np.empty(len(at), dtype=np.bool_)
        value, threshold = np.empty(len(at), dtype=np.float32), np.empty(len(at), dtype=np.float32)
        for _ in range(self._depth):
            # mode="clip" spares a copy of the result; no index is ever outside.
            self._node.take(at, out=node, mode="clip")
            np.bitwise_and(node, FEATURE_MASK, out=place)
            place += row
            flat.take(place, out=value, mode="clip")
            self._threshold.take(at, out=threshold, mode="clip")
            np.greater(value, threshold, out=right)
            node >>= FEATURE_BITS
            np.add(node, right, out=at)
        leaves = self._value.take(at, axis=0, mode="clip").reshape(self._count, rows, -1)
        # Over the first of several axes numpy adds in order, as scikit-learn does; a single column it adds in pairs.
        total: Matrix = leaves.sum(axis=0) if leaves[0].size > 1 else leaves.cumsum(axis=0)[-1]
        total /= self._count
        return total


def _lay_out(tree: Tree) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Left child, feature, threshold and value of each node, with siblings side by side.

    A leaf is its own left child and has an infinite threshold: who is there stays there.
    """
    order = [0]
    for node in order:  # grows meanwhile
        if tree.children_left[node] != -1:
            order += [int(tree.children_left[node]), int(tree.children_right[node])]
    nodes = np.array(order)
    place = np.empty_like(nodes)
    place[nodes] = np.arange(len(nodes))
    inner = tree.children_left[nodes] != -1
    left = np.where(inner, place[tree.children_left[nodes]], np.arange(len(nodes)))
    feature = np.where(inner, tree.feature[nodes], 0)
    threshold = np.where(inner, tree.threshold[nodes], np.inf)
    return left, feature, threshold, tree.value[nodes, 0, :]


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above: for a float32 `x`, `x <= threshold` stays as it is."""
    nearest = threshold.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return cast("NDArray[np.float32]", np.where(nearest > threshold, below, nearest))
