"""Request decoding and model loading that all peers share."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ["BENCH_MODEL"])


def load() -> Any:
    """Return the estimator that MLflow saved."""
    return pickle.loads((FOLDER / "model.pkl").read_bytes())


def array(body: Any) -> "np.ndarray[Any, Any]":
    """Return the rows of a `dataframe_split` body."""
    return np.array(body["dataframe_split"]["data"], dtype=np.float64)
