from collections.abc import Callable
from typing import Any

import pandas as pd
from numpy.typing import NDArray

class _Importances:
    importances_mean: NDArray[Any]

def permutation_importance(
    estimator: object,
    X: pd.DataFrame,
    y: pd.Series[bool],
    *,
    scoring: Callable[..., float],
    n_repeats: int,
    random_state: int,
) -> _Importances: ...
