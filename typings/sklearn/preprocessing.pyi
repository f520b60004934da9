from typing import Literal

class OneHotEncoder:
    def __init__(self, *, handle_unknown: Literal["error", "ignore"]) -> None: ...

class OrdinalEncoder:
    def __init__(self, *, handle_unknown: Literal["error", "use_encoded_value"], unknown_value: float) -> None: ...
