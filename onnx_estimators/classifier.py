"""Classifier whose probabilities ONNX Runtime computes."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from onnx_estimators.session import Matrix, compute

OUTPUT = "probabilities"
"""Name of the network's output: float32, rows by labels."""


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
        return compute(self.network, OUTPUT, rows)

    def predict(self, rows: Matrix, /) -> Matrix:
        """Return the most probable label for each row. `rows` is a dense matrix of numbers."""
        return self.classes_.take(self.predict_proba(rows).argmax(axis=1))
