from typing import Literal

class RandomForestClassifier:
    def __init__(
        self,
        n_estimators: int,
        *,
        max_depth: int | None,
        class_weight: Literal["balanced"] | None = None,
        random_state: int,
        n_jobs: int,
    ) -> None: ...
