"""BentoML: `bentoml serve bentoml_service:Service`."""

from typing import Any

import bentoml
from table import array, load


@bentoml.service(workers=1, traffic={"timeout": 60})
class Service:
    """One worker, one model."""

    def __init__(self) -> None:
        self.model = load()

    @bentoml.api(route="/invocations")
    def invocations(self, dataframe_split: dict[str, Any]) -> dict[str, Any]:
        """Predictions of a table."""
        return {"predictions": self.model.predict(array({"dataframe_split": dataframe_split})).tolist()}
