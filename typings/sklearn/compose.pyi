from collections.abc import Sequence
from typing import Any

import pandas as pd
from numpy.typing import NDArray

class ColumnTransformer:
    def __init__(self, transformers: Sequence[tuple[str, object, Sequence[str] | str]]) -> None: ...
    def fit_transform(self, X: pd.DataFrame) -> NDArray[Any]: ...
    def transform(self, X: pd.DataFrame) -> NDArray[Any]: ...
