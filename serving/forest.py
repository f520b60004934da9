"""Many trees walked at once: all trees, all rows, a level at a time."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[Any]
MOST_FEATURES = 1 << 16
# A node is one number, since fetching from memory is what takes time: the threshold, then in this many bits the place
# of the left child and the feature.
LOW_BITS = 32
LOW_MASK = (1 << LOW_BITS) - 1
# Rows at a time: their places in all trees stay in the CPU's cache.
CHUNK = 128
# From here on, at every third level, those who have reached their leaf are left out; with fewer it would not pay.
LEVEL, STEP, MANY = 9, 3, 4096


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
        feature_bits = max(int(tree.feature.max(initial=1)) for tree in trees).bit_length()
        groups: list[list[Tree]] = [[]]
        for tree in trees:
            nodes = sum(len(one.feature) for one in [*groups[-1], tree])
            groups.append([tree]) if nodes > 1 << (LOW_BITS - feature_bits) else groups[-1].append(tree)
        self._walks = [_Walk(group, feature_bits) for group in groups]

    def __call__(self, matrix: NDArray[np.float32]) -> Matrix:
        """For each row the mean over trees of the leaf it falls into.

        Args:
            matrix: rows by features, without NaN, as trees compare them: float32.
        """
        return np.concatenate([self._mean(matrix[at : at + CHUNK]) for at in range(0, len(matrix), CHUNK)])

    def _mean(self, matrix: NDArray[np.float32]) -> Matrix:
        parts = [walk(matrix) for walk in self._walks]
        leaves = parts[0] if len(parts) == 1 else np.concatenate(parts)
        # Over the first of several axes numpy adds in order, as scikit-learn does; a single column it adds in pairs.
        total: Matrix = leaves.sum(axis=0) if leaves[0].size > 1 else leaves.cumsum(axis=0)[-1]
        total /= self._count
        return total


class _Walk:
    """As many trees as `LOW_BITS` can tell apart, walked a level at a time."""

    def __init__(self, trees: Sequence[Tree], feature_bits: int) -> None:
        self._depth = max(tree.max_depth for tree in trees)
        self._roots = np.cumsum([0, *(len(tree.feature) for tree in trees[:-1])])
        laid_out = [_lay_out(tree) for tree in trees]
        left = np.concatenate([left + root for (left, _, _, _), root in zip(laid_out, self._roots, strict=True)])
        feature = np.concatenate([feature for _, feature, _, _ in laid_out])
        threshold = _rounded_down(np.concatenate([threshold for _, _, threshold, _ in laid_out]))
        # As arrays, for a number would be made one at each use.
        self._feature_bits, self._feature_mask = np.array(feature_bits), np.array((1 << feature_bits) - 1)
        self._node = _high(threshold) | (left << feature_bits) | feature
        self._value = np.concatenate([value for _, _, _, value in laid_out])

    def __call__(self, matrix: NDArray[np.float32]) -> Matrix:
        """For each tree and each row the value of the leaf."""
        rows, features = matrix.shape
        values = _high(matrix).ravel()
        at: Matrix = np.repeat(self._roots, rows)
        row: Matrix = np.tile(np.arange(0, rows * features, features, dtype=np.int64), len(self._roots))
        node, value, right = np.empty_like(at), np.empty_like(at), np.zeros_like(at)
        higher = _truth(right)
        left_out: list[tuple[Matrix, Matrix]] = []
        for level in range(self._depth):
            # mode="wrap" spares a copy of the result; no index is ever outside.
            self._node.take(at, out=node, mode="wrap")
            if level >= LEVEL and level % STEP == 0 and len(at) > MANY:
                inner = np.flatnonzero(node < LEAF)
                left_out.append((at, inner))
                at, row, node = at.take(inner), row.take(inner), node.take(inner)
                value, right = value[: len(at)], right[: len(at)]
                higher = _truth(right)
            place = np.bitwise_and(node, self._feature_mask, out=at)
            place += row
            values.take(place, out=value, mode="wrap")
            np.greater(value, node, out=higher)
            node &= LOW
            node >>= self._feature_bits
            np.add(node, right, out=at)
        for before, inner in reversed(left_out):
            before[inner] = at
            at = before
        return self._value.take(at, axis=0, mode="clip").reshape(len(self._roots), rows, -1)


def _high(numbers: NDArray[np.float32]) -> Matrix:
    """Whole numbers in the same order, with `LOW_BITS` left free."""
    bits = (numbers + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << LOW_BITS


LOW, LEAF = np.array(LOW_MASK), _high(np.array([np.inf], dtype=np.float32))


def _truth(numbers: Matrix) -> Matrix:
    """The lowest byte of each number, as true or false: what is written there makes it 1 or 0."""
    return numbers.view(np.bool_)[:: numbers.itemsize]


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
