"""Regressor whose numbers ONNX Runtime computes."""

from typing import Self

from sklearn.base import BaseEstimator, RegressorMixin

from onnx_estimators.session import Matrix, compute

OUTPUT = "numbers"
"""Name of the network's output: float32, rows by one."""


class OnnxRegressor(RegressorMixin, BaseEstimator):
    """Regressor that an ONNX network computes. It is fitted when it is made."""

    def __init__(self, network: bytes = b"", center: float = 0.0, scale: float = 1.0) -> None:
        """Make a regressor.

        Args:
            network: model in ONNX format: input `rows` (float32, rows by features), output `numbers` (float32, rows by
                one), which are the predictions without their scale and center.
            center: number that is added to each prediction, in the unit of the target.
            scale: number that each output of the network is multiplied by, in the unit of the target.
        """
        self.network = network
        self.center = center
        self.scale = scale

    def fit(self, rows: Matrix, numbers: Matrix, /) -> Self:
        """Return this regressor unchanged, as scikit-learn's FrozenEstimator does: the network is trained already."""
        del rows, numbers
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Return True, because scikit-learn sees no fitted attribute."""
        return True

    def __repr__(self) -> str:
        """Return the center, the scale and the size, without the network itself."""
        return f"OnnxRegressor(center={self.center}, scale={self.scale}, network={len(self.network)} bytes)"

    def predict(self, rows: Matrix, /) -> Matrix:
        """Return the prediction for each row, as float64. `rows` is a dense matrix of numbers."""
        return compute(self.network, OUTPUT, rows)[:, 0] * self.scale + self.center
