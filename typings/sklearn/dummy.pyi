from typing import Literal

class DummyClassifier:
    def __init__(self, *, strategy: Literal["most_frequent", "prior", "stratified", "uniform", "constant"]) -> None: ...
