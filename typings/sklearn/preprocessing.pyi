from typing import Literal

class OneHotEncoder:
    def __init__(self, *, handle_unknown: Literal["error", "ignore"]) -> None: ...
