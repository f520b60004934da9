"""Steps of scikit-learn that turn a time column into numbers, for a ColumnTransformer.

A model gets times as nanoseconds since 1970. The steps consist of scikit-learn's own types. So a model with them loads
without this package. A missing time, which a request may have, becomes NaN.
"""

from datetime import timedelta

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

DAY, WEEK, YEAR = timedelta(days=1), timedelta(days=7), timedelta(days=365.2425)
MISSING = -(2.0**63)
"""Number that NumPy makes of a missing time."""


def trend() -> Pipeline:
    """Return a step that scales times to mean 0 and deviation 1."""
    return Pipeline([*_numbers(), ("scale", StandardScaler())])


def cycle(period: timedelta) -> Pipeline:
    """Return a step that makes sine and cosine of the place of a time in its period, such as `WEEK`."""
    nanoseconds = period / timedelta(microseconds=1) * 1000
    # The scale of two such values is half their difference.
    angle = StandardScaler(with_mean=False).fit([[0.0], [nanoseconds / np.pi]])
    waves = [("sine", FunctionTransformer(np.sin)), ("cosine", FunctionTransformer(np.cos))]
    return Pipeline([*_numbers(), ("angle", FrozenEstimator(angle)), ("waves", FeatureUnion(waves))])


def _numbers() -> list[tuple[str, object]]:
    nan = SimpleImputer(missing_values=MISSING, strategy="constant", fill_value=np.nan, keep_empty_features=True)
    return [("numbers", StandardScaler(with_mean=False, with_std=False)), ("missing", nan)]
