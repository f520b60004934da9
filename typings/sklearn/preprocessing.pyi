from collections.abc import Sequence
from typing import Literal

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

class StandardScaler: ...
