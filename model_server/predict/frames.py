"""Converts rows to the table or array that MLflow would pass to a model."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, cast

import numpy as np
import pandas as pd

from model_server.predict.decoding import Row
from model_server.predict.fast.estimators import Predictor, Sizes
from model_server.predict.signature import Signature
from model_server.predict.types import TYPES


class ModelError(Exception):
    """The model raised an exception while it predicted `table`. That exception is the cause of this one."""

    def __init__(self, table: object) -> None:
        super().__init__("the model failed")
        self.table = table


def frame_predictor(predict: Callable[[Any], object], signature: Signature) -> Predictor:
    """Return a predictor that calls the model's function once for each request, with a table or an array.

    The predictor raises ModelError if the model raises an exception.
    """
    make = _frame if signature.named else _array

    def predict_all(rows: Sequence[Row], sizes: Sizes) -> list[Any]:
        bounds = pairwise(accumulate(sizes, initial=0))
        return [_plain(_call_model(predict, make(rows[start:end], signature))) for start, end in bounds]

    return predict_all


def _call_model(predict: Callable[[Any], object], table: object) -> object:
    try:
        return predict(table)
    except Exception as error:
        raise ModelError(table) from error


def _frame(rows: Sequence[Row], signature: Signature) -> pd.DataFrame:
    columns = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            column.name: list(values)
            if column.kind == "string"
            else np.array(values, dtype=TYPES[column.kind].dtypes[0])
            for column, values in zip(signature.columns, columns, strict=True)
        }
    )


def _array(rows: Sequence[Row], signature: Signature) -> np.ndarray[Any, Any]:
    return np.array(rows, dtype=TYPES[signature.columns[0].kind].dtypes[0])


def _plain(prediction: object) -> object:
    """Convert a prediction to lists and dictionaries, as MLflow does."""
    if isinstance(prediction, np.ndarray):
        return cast("Any", prediction).tolist()
    if isinstance(prediction, pd.Series):
        prediction = pd.DataFrame(cast("Any", prediction))
    return cast("Any", prediction).to_dict(orient="records") if isinstance(prediction, pd.DataFrame) else prediction
