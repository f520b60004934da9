"""Evaluates many decision trees at once: all trees and all rows, one level at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[Any]
MOST_FEATURES = 1 << 16
# Memory access takes most of the time, so a node is one integer: from the top its feature, the index of its left child,
# and its threshold in 32 bits. The value to compare has the same feature at the top and the index 0. Node minus value
# leaves the left child's index in the bits above 32, or one less if the value is larger: the index of the right child.
# Without the sign and the threshold, 31 bits remain for feature and index.
BITS = 31
# An array, like others below, because NumPy would convert a plain number at each use.
POSITION_AT = np.array(32)
# Rows evaluated at once, so that their positions in all trees fit into the CPU's cache.
CHUNK = 128
# From level LEVEL, every STEP levels, rows that have reached their leaf are left out if more than MANY remain.
LEVEL, STEP, MANY = 9, 3, 4096


class Tree(Protocol):
    """A fitted scikit-learn tree: arrays with one entry for each node. A leaf has no children (-1)."""

    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]
    max_depth: int


class Forest:
    """Mean of the trees' values, exactly as if the values were added one after the other.

    The trees are evaluated in groups: `bits` bits must be enough to number the nodes of a group and the features.

    Raises:
        OverflowError: a tree has too many nodes.
    """

    def __init__(self, trees: Sequence[Tree], *, bits: int = BITS) -> None:
        self._count = len(trees)
        feature_bits = max(int(tree.feature.max(initial=1)) for tree in trees).bit_length()
        self._walks = [_Walk(group, BITS - feature_bits) for group in _groups(trees, 1 << (bits - feature_bits))]

    def __call__(self, matrix: NDArray[np.float32]) -> Matrix:
        """Return for each row the mean of its leaf values over all trees.

        Args:
            matrix: rows by features, float32 as trees compare them, without NaN.
        """
        return np.concatenate([self._mean(matrix[at : at + CHUNK]) for at in range(0, len(matrix), CHUNK)])

    def _mean(self, matrix: NDArray[np.float32]) -> Matrix:
        parts = [walk(matrix) for walk in self._walks]
        leaves = parts[0] if len(parts) == 1 else np.concatenate(parts)
        # NumPy adds over the first of several axes in order, as scikit-learn does, but adds a single column in pairs.
        total: Matrix = leaves.sum(axis=0) if leaves[0].size > 1 else leaves.cumsum(axis=0)[-1]
        total /= self._count
        return total


def _groups(trees: Sequence[Tree], most: int) -> Iterator[Sequence[Tree]]:
    """Yield the trees in order, in groups of at most `most` nodes.

    Raises:
        OverflowError: one tree has more nodes.
    """
    start, nodes = 0, 0
    for position, tree in enumerate(trees):
        if len(tree.feature) > most:
            raise OverflowError(f"a tree has {len(tree.feature)} nodes; the limit is {most}")
        if nodes + len(tree.feature) > most:
            yield trees[start:position]
            start, nodes = position, 0
        nodes += len(tree.feature)
    yield trees[start:]


class _Walk:
    """A group of trees that is evaluated one level at a time."""

    def __init__(self, trees: Sequence[Tree], position_bits: int) -> None:
        self._depth = max(tree.max_depth for tree in trees)
        self._trees = len(trees)
        starts = np.cumsum([0, *(len(tree.feature) for tree in trees[:-1])])
        left, right = (
            np.concatenate([np.where(child < 0, -1, child + start) for child, start in zip(side, starts, strict=True)])
            for side in ([tree.children_left for tree in trees], [tree.children_right for tree in trees])
        )
        order = _by_level(starts, left, right)
        position = np.empty_like(order)
        position[order] = here = np.arange(len(order))
        # A leaf is its own left child and has an infinite threshold, so a row stays in its leaf.
        inner = left[order] >= 0
        left = np.where(inner, position[left[order]], here)
        feature = np.where(inner, np.concatenate([tree.feature for tree in trees])[order], 0)
        threshold = np.where(inner, np.concatenate([tree.threshold for tree in trees])[order], np.inf)
        self._positions, self._feature_at = np.array((1 << position_bits) - 1), np.array(position_bits + 32)
        self._node = (feature << self._feature_at) | (left << POSITION_AT) | _ordered(_rounded_down(threshold))
        self._value = np.concatenate([tree.value[:, 0, :] for tree in trees])[order]

    def __call__(self, matrix: NDArray[np.float32]) -> Matrix:
        """Return the leaf value for each tree and each row."""
        rows, features = matrix.shape
        tops: Matrix = np.arange(features, dtype=np.int64) << self._feature_at
        values: Matrix = (tops | _ordered(matrix)).ravel()
        at: Matrix = np.repeat(np.arange(self._trees), rows)
        row: Matrix = np.tile(np.arange(0, rows * features, features, dtype=np.int64), self._trees)
        node, value = np.empty_like(at), np.empty_like(at)
        left_out: list[tuple[Matrix, Matrix]] = []
        for level in range(self._depth):
            # mode="wrap" avoids a copy of the result; every index is valid.
            self._node.take(at, out=node, mode="wrap")
            if level >= LEVEL and level % STEP == 0 and len(at) > MANY:
                inner = np.flatnonzero(((node >> POSITION_AT) & self._positions) != at)
                left_out.append((at, inner))
                at, row, node = at.take(inner), row.take(inner), node.take(inner)
                value = value[: len(at)]
            position = np.right_shift(node, self._feature_at, out=at)
            position += row
            values.take(position, out=value, mode="wrap")
            np.subtract(node, value, out=value)
            np.right_shift(value, POSITION_AT, out=at)
        for before, inner in reversed(left_out):
            before[inner] = at
            at = before
        return self._value.take(at, axis=0, mode="clip").reshape(self._trees, rows, -1)


def _ordered(numbers: NDArray[np.float32]) -> Matrix:
    """Convert the numbers to integers from 0 to 2**32 - 1 with the same order."""
    bits = (numbers + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) + (1 << 31)


def _by_level(roots: Matrix, left: Matrix, right: Matrix) -> Matrix:
    """Return all nodes: the roots first, then their children, and so on. A left child follows its right sibling."""
    levels = [roots]
    while len(level := levels[-1]):
        inner = level[left[level] >= 0]
        levels.append(np.stack([right[inner], left[inner]], axis=1).ravel())
    return np.concatenate(levels)


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 that is not above each threshold, so that `x <= threshold` keeps its result."""
    nearest = threshold.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return cast("NDArray[np.float32]", np.where(nearest > threshold, below, nearest))
