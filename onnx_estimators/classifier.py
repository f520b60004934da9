"""Estimators of scikit-learn's kind whose predictions ONNX Runtime computes.

A network that PyTorch has trained becomes such an estimator, so a model server needs no PyTorch. The training image and
the serving image contain this package; it depends on no other package of this repository, because a model server loads
it together with the model.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol, Self, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

Matrix = NDArray[Any]
INPUT, OUTPUT = "rows", "probabilities"
"""Names of the network's input and output."""


class _Session(Protocol):
    """ONNX Runtime's session, whose package has no type annotations."""

    def run(self, outputs: Sequence[str], inputs: dict[str, Matrix]) -> Sequence[Matrix]: ...


@lru_cache(maxsize=8)
def session(network: bytes) -> _Session:
    """Return a session for the network in ONNX format. It computes in one thread, because a server uses several."""
    runtime, options = cast("Any", onnxruntime), cast("Any", onnxruntime).SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


class OnnxClassifier(ClassifierMixin, BaseEstimator):
    """Classifier that an ONNX network computes. It is fitted when it is made."""

    classes_: Matrix
    """Labels, in the order of the columns of `predict_proba`."""

    def __init__(self, network: bytes = b"", labels: Sequence[str] = ()) -> None:
        """Make a classifier.

        Args:
            network: model in ONNX format: input `rows` (float32, rows by features), output `probabilities` (float32,
                rows by labels).
            labels: labels, in the order of the network's output.
        """
        self.network = network
        self.labels = labels
        self.classes_ = np.array([*labels], dtype=object)

    def fit(self, rows: Matrix, labels: Matrix, /) -> Self:
        """Return this classifier unchanged, as scikit-learn's FrozenEstimator does: the network is trained already."""
        del rows, labels
        return self

    def __repr__(self) -> str:
        """Return the labels and the size, without the network itself."""
        return f"OnnxClassifier(labels={[*self.labels]}, network={len(self.network)} bytes)"

    def predict_proba(self, rows: Matrix, /) -> Matrix:
        """Return the probability of each label for each row, as float64. `rows` is a dense matrix of numbers."""
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite
            given = np.ascontiguousarray(rows, dtype=np.float32)
        return session(self.network).run([OUTPUT], {INPUT: given})[0].astype(np.float64)

    def predict(self, rows: Matrix, /) -> Matrix:
        """Return the most probable label for each row. `rows` is a dense matrix of numbers."""
        return self.classes_.take(self.predict_proba(rows).argmax(axis=1))
