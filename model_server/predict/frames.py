"""Converts rows to the table or array that MLflow would pass to a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, cast

import numpy as np
import pandas as pd

from model_server.predict.decoding import Row
from model_server.predict.fast.estimators import Sizes, Values
from model_server.predict.signature import Signature
from model_server.predict.types import TYPES


class ModelError(Exception):
    """The model raised an exception while it predicted `table`. That exception is the cause of this one."""

    def __init__(self, table: object) -> None:
        super().__init__("the model failed")
        self.table = table


@dataclass(frozen=True, kw_only=True)
class FramePredictor:
    """Predictor that calls the model's function once for each request, with a table or an array.

    It raises ModelError if the model raises an exception.
    """

    predict: Callable[[Any], object]
    """The model's function."""
    signature: Signature
    """Columns that the function takes."""

    def __call__(self, rows: Sequence[Row], sizes: Sizes) -> list[Any]:
        """Return the predictions for each request, one for each of its rows."""
        bounds = pairwise(accumulate(sizes, initial=0))
        return [self.by_columns(list(zip(*rows[start:end], strict=True))) for start, end in bounds]

    def by_columns(self, columns: Sequence[Values]) -> object:
        """Return the predictions for the rows of a table, as for one request with them."""
        make = _frame if self.signature.named else _array
        return _plain(_call_model(self.predict, make(columns, self.signature)))


def _call_model(predict: Callable[[Any], object], table: object) -> object:
    try:
        return predict(table)
    except Exception as error:
        raise ModelError(table) from error


def _frame(columns: Sequence[Values], signature: Signature) -> pd.DataFrame:
    return pd.DataFrame(
        {
            column.name: list(values)
            if column.kind == "string"
            else np.array(values, dtype=TYPES[column.kind].dtypes[0])
            for column, values in zip(signature.columns, columns, strict=True)
        }
    )


def _array(columns: Sequence[Values], signature: Signature) -> np.ndarray[Any, Any]:
    values = [list(column) for column in columns]
    return np.ascontiguousarray(np.array(values, dtype=TYPES[signature.columns[0].kind].dtypes[0]).T)


def _plain(prediction: object) -> object:
    """Convert a prediction to lists and dictionaries, as MLflow does."""
    if isinstance(prediction, np.ndarray):
        return cast("Any", prediction).tolist()
    if isinstance(prediction, pd.Series):
        prediction = pd.DataFrame(cast("Any", prediction))
    return cast("Any", prediction).to_dict(orient="records") if isinstance(prediction, pd.DataFrame) else prediction
