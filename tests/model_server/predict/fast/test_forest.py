from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest

from model_server.predict.fast import forest
from model_server.predict.fast.forest import Forest
from tests.model_server.zoo import ensembles, table


def grown(**more: object) -> tuple[Any, "np.ndarray[Any, Any]"]:
    """Return fitted trees, and float32 rows, some of them exactly on a threshold."""
    values, labels = table(400)
    matrix = values.to_numpy(dtype=np.float32)
    trees = [tree.tree_ for tree in ensembles.RandomForestClassifier(30, random_state=1, **more).fit(matrix, labels)]
    thresholds = trees[0].threshold[:60].astype(np.float32)
    matrix[: len(thresholds), trees[0].feature[: len(thresholds)].clip(0)] = thresholds[:, None]
    return trees, np.vstack([matrix, np.zeros((1, 4)), -np.zeros((1, 4))]).astype(np.float32)


def one_by_one(trees: Any, matrix: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    return reduce(add, [tree.predict(matrix) for tree in trees]) / len(trees)


@pytest.mark.parametrize("rows", [1, 3, 128, 402])
def test_all_trees_at_once_give_the_mean_of_each_by_itself_to_the_last_bit(rows: int) -> None:
    trees, matrix = grown()
    assert np.array_equal(Forest(trees)(matrix[-rows:]), one_by_one(trees, matrix[-rows:]))


def test_where_many_have_reached_their_leaf_the_others_still_reach_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "LEVEL", 1)
    monkeypatch.setattr(forest, "STEP", 1)
    monkeypatch.setattr(forest, "MANY", 0)
    trees, matrix = grown()
    assert np.array_equal(Forest(trees)(matrix), one_by_one(trees, matrix))


def test_a_forest_that_one_number_cannot_tell_apart_is_walked_in_parts_of_whole_trees() -> None:
    trees, matrix = grown()
    nodes = max(tree.node_count for tree in trees)
    enough = nodes.bit_length() + 2  # two for four features
    assert np.array_equal(Forest(trees, bits=enough)(matrix), one_by_one(trees, matrix))
    with pytest.raises(OverflowError, match=r"a tree has \d+ nodes"):
        Forest(trees, bits=enough - 1)


def test_a_forest_of_stumps_is_walked() -> None:
    for depth in (1, 2):
        trees, matrix = grown(max_depth=depth)
        assert np.array_equal(Forest(trees)(matrix), one_by_one(trees, matrix))
