"""Rows as the table that MLflow would hand to a model, for models that want one."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, cast

import numpy as np
import pandas as pd

from model_server.predict.decoding import Row
from model_server.predict.fast.estimators import Rows, Sizes
from model_server.predict.signature import Signature
from model_server.predict.types import TYPES


class FailedError(Exception):
    """The model raised an exception, the cause of this one, when it was asked about the table."""

    def __init__(self, table: object) -> None:
        super().__init__("the model failed")
        self.table = table


def on_frames(predict: Callable[[Any], object], signature: Signature) -> Rows:
    """The model's function, called with one table for each request. Raises FailedError for what the model raises."""
    make = _frame if signature.named else _array

    def answer(rows: Sequence[Row], sizes: Sizes) -> list[Any]:
        bounds = pairwise(accumulate(sizes, initial=0))
        return [_plain(_asked(predict, make(rows[start:end], signature))) for start, end in bounds]

    return answer


def _asked(predict: Callable[[Any], object], table: object) -> object:
    try:
        return predict(table)
    except Exception as error:
        raise FailedError(table) from error


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


def _plain(answer: object) -> object:
    """Lists and dictionaries, as MLflow makes them of an answer."""
    if isinstance(answer, np.ndarray):
        return cast("Any", answer).tolist()
    if isinstance(answer, pd.Series):
        answer = pd.DataFrame(cast("Any", answer))
    return cast("Any", answer).to_dict(orient="records") if isinstance(answer, pd.DataFrame) else answer
