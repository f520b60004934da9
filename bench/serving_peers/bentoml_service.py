"""BentoML server: `bentoml serve bentoml_service:Service`."""

from typing import Any

import bentoml
from table import array, load


@bentoml.service(workers=1, traffic={"timeout": 60})
class Service:
    """Service with one worker and one model."""

    def __init__(self) -> None:
        self.model = load()

    @bentoml.api(route="/invocations")
    def invocations(self, dataframe_split: dict[str, Any]) -> dict[str, Any]:
        """Return predictions for a table."""
        return {"predictions": self.model.predict(array({"dataframe_split": dataframe_split})).tolist()}
