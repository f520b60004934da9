from typing import Literal

class SimpleImputer:
    def __init__(
        self,
        *,
        missing_values: float = ...,
        strategy: Literal["mean", "median", "most_frequent", "constant"],
        fill_value: float | None = None,
        keep_empty_features: bool = False,
    ) -> None: ...
