"""What every peer does with a body: MLflow's `dataframe_split` into an array, and the model that it goes to."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ["BENCH_MODEL"])


def load() -> Any:
    """The estimator that MLflow saved."""
    return pickle.loads((FOLDER / "model.pkl").read_bytes())


def array(body: Any) -> "np.ndarray[Any, Any]":
    """The rows of a body."""
    return np.array(body["dataframe_split"]["data"], dtype=np.float64)
