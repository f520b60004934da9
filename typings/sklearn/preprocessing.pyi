from collections.abc import Callable, Sequence
from typing import Literal, Self

class OneHotEncoder:
    def __init__(self, *, handle_unknown: Literal["error", "ignore"], sparse_output: bool = True) -> None: ...

class OrdinalEncoder:
    def __init__(
        self,
        *,
        categories: Sequence[Sequence[str]] | Literal["auto"] = "auto",
        handle_unknown: Literal["error", "use_encoded_value"] = "error",
        unknown_value: float | None = None,
    ) -> None: ...

class FunctionTransformer:
    def __init__(self, func: Callable[..., object]) -> None: ...

class StandardScaler:
    def __init__(self, *, with_mean: bool = True, with_std: bool = True) -> None: ...
    def fit(self, X: Sequence[Sequence[float]]) -> Self: ...
