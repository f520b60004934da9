from collections.abc import Sequence

class ColumnTransformer:
    def __init__(self, transformers: Sequence[tuple[str, object, Sequence[str]]]) -> None: ...
