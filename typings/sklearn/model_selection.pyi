from typing import Any

from numpy.typing import NDArray

def train_test_split(
    rows: NDArray[Any], *, test_size: float, random_state: int, stratify: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]: ...
