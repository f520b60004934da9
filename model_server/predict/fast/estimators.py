"""Fast prediction for fitted scikit-learn estimators: a few array operations with exactly equal results.

Only the estimators listed here are rebuilt; scikit-learn handles all others. A step is listed if its result for a row
does not depend on other rows. Where the last bit may depend on them, as in a matrix product, each request is computed
separately, on an array with the memory layout that scikit-learn would use.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain, pairwise
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from model_server.predict.decoding import Row
from model_server.predict.fast.boosted import boosted
from model_server.predict.fast.forest import MOST_FEATURES, Forest, Tree
from model_server.predict.fast.known import known
from model_server.predict.signature import Signature
from model_server.predict.types import WHOLE

Matrix: TypeAlias = NDArray[Any]
Sizes: TypeAlias = Sequence[int]
Step: TypeAlias = Callable[[Matrix], Matrix]
Decide: TypeAlias = Callable[[Matrix, Sizes], Matrix]
# Compared by name, because importing unneeded parts of scikit-learn takes time and memory.
FORESTS = frozenset({"ExtraTreesClassifier", "ExtraTreesRegressor", "RandomForestClassifier", "RandomForestRegressor"})
TREES = frozenset({"DecisionTreeClassifier", "DecisionTreeRegressor"})
NETWORKS = {"OnnxClassifier": ("predict", "predict_proba"), "OnnxRegressor": ("predict",)}
REGRESSIONS = frozenset({"ElasticNet", "Lasso", "LinearRegression", "Ridge"})
WHOLE_FLOATS = WHOLE | {"double"}


class UnsureError(ValueError):
    """The rows need scikit-learn's own code, which may refuse them."""


@dataclass(frozen=True, kw_only=True)
class Texts(Collection[str]):
    """Column of strings that stores each different string once."""

    words: Sequence[str]
    """The different strings."""
    indexes: NDArray[np.integer[Any]]
    """Index in `words` for each row."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.indexes)

    def __iter__(self) -> Iterator[str]:
        """Yield the string of each row."""
        return iter(np.array(self.words, dtype=object).take(self.indexes).tolist())

    def __contains__(self, word: object) -> bool:
        """Return whether a row has this string."""
        return any(word == one for one in self)


Values: TypeAlias = Collection[Any]
"""Values of one column. None or NaN is a missing number."""
Encode: TypeAlias = Callable[[Sequence[Values]], Matrix]


class Predictor(Protocol):
    """Function that predicts whole batches. It takes all rows, and the number of rows of each request."""

    def __call__(self, rows: Sequence[Row], sizes: Sizes) -> list[Any]:
        """Return the predictions for each request, one for each of its rows."""
        ...

    def by_columns(self, columns: Sequence[Values]) -> object:
        """Return the predictions for the rows of a table, as for one request with them."""
        ...


@dataclass(frozen=True, kw_only=True)
class FastPredictor:
    """Predictor that does the work of an estimator's method."""

    encode_rows: Callable[[Sequence[Row]], Matrix]
    """Convert rows to the matrix of the first step."""
    encode_columns: Callable[[Sequence[Values]], Matrix]
    """Convert columns to the same matrix."""
    transforms: Sequence[Step]
    """Steps between that matrix and the last step."""
    decide: Decide
    """The last step."""

    def __call__(self, rows: Sequence[Row], sizes: Sizes) -> list[list[Any]]:
        """Return the predictions for each request, one for each of its rows."""
        values = self._predict(self.encode_rows(rows), sizes)
        return [values[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]

    def by_columns(self, columns: Sequence[Values]) -> list[Any]:
        """Return the predictions for the rows of a table, as for one request with them."""
        matrix = self.encode_columns(columns)
        return self._predict(matrix, [len(matrix)])

    def _predict(self, matrix: Matrix, sizes: Sizes) -> list[Any]:
        for transform in self.transforms:
            matrix = transform(matrix)
        return self.decide(matrix, sizes).tolist()


def fast_predictor(estimator: object, method: str, signature: Signature) -> FastPredictor | None:
    """Return the estimator's `method` as a predictor, or None if a part of the estimator is not listed here."""
    *steps, final = steps_of(estimator)
    mixed = bool(steps) and known(steps[0]) == "ColumnTransformer"
    first = steps[0] if steps else final
    encode = _columns(first, signature) if mixed else _stacked if _takes_numbers(first, signature) else None
    transforms = [_transform(step) for step in steps[mixed:]]
    decide = _trees(final, method) or _boosted(final, method)
    decide = decide or _network(final, method)
    decide = decide or (None if mixed else _linear(final, method, named=signature.named))
    if encode is None or decide is None or None in transforms or not _as_dense(steps, final, signature):
        return None
    return FastPredictor(
        encode_rows=(lambda rows: encode(list(zip(*rows, strict=True))))
        if mixed
        else partial(_matrix, len(signature.columns)),
        encode_columns=encode,
        transforms=[transform for transform in transforms if transform],
        decide=decide,
    )


def steps_of(estimator: object) -> list[Any]:
    """Return the steps of a pipeline, or a list of the estimator alone."""
    if known(estimator) != "Pipeline":
        return [estimator]
    return [step for _, step in cast("list[tuple[str, object]]", cast("Any", estimator).steps) if step != "passthrough"]


def _as_dense(steps: Sequence[object], final: object, signature: Signature) -> bool:
    """Return whether the last step gives the same result for a dense float64 matrix as for scikit-learn's own input.

    To XGBoost, a zero that a sparse matrix omits is a missing value. StandardScaler multiplies a sparse matrix where it
    divides a dense one. Integers that no step converts to floats are float32 to LightGBM when they come as an array,
    and a linear model adds them up in another order.
    """
    mixed = bool(steps) and known(steps[0]) == "ColumnTransformer"
    module = type(final).__module__.partition(".")[0]
    if mixed and cast("Any", steps[0]).sparse_output_:
        return len(steps) == 1 and module != "xgboost"
    whole = not mixed and {column.kind for column in signature.columns} <= WHOLE
    if mixed:
        parts = cast("list[tuple[str, object, list[str]]]", cast("Any", steps[0]).transformers_)
        kinds = {column.name: column.kind for column in signature.columns}
        whole = all(
            fitted == "drop" or (all(kinds.get(name) in WHOLE for name in chosen) and not _makes_floats(fitted))
            for _, fitted, chosen in parts
        )
    if not whole or any(map(_makes_floats, steps[mixed:])):
        return True
    if module == "lightgbm":
        return signature.named and not mixed
    return known(final) in FORESTS | TREES or module == "xgboost"


def _makes_floats(fitted: object) -> bool:
    return any(
        known(step) == "StandardScaler" or (known(step) == "SimpleImputer" and step.strategy in {"mean", "median"})
        for step in steps_of(fitted)
    )


def _takes_numbers(first: object, signature: Signature) -> bool:
    """Return whether the estimator takes the signature's columns as they are, and all of them are numbers."""
    if not known(first):
        return False
    trees = boosted(first, "predict")
    names: object = trees.names if trees else getattr(first, "feature_names_in_", None)
    if signature.named and names is not None and list(cast("Matrix", names)) != signature.names:
        return False
    taken = trees.width if trees else getattr(first, "n_features_in_", None)
    return taken == len(signature.columns) and {column.kind for column in signature.columns} <= WHOLE_FLOATS


def _matrix(width: int, rows: Sequence[Row]) -> Matrix:
    """Return a float64 matrix of rows that hold only numbers, `width` each."""
    try:
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=len(rows) * width)
    except TypeError:  # a value is missing
        return np.array(rows, dtype=np.float64)
    return flat.reshape(len(rows), width)


def _stacked(columns: Sequence[Values]) -> Matrix:
    """Return a float64 matrix of columns that hold only numbers, with the memory layout of `_matrix`."""
    return np.ascontiguousarray(np.array([*columns], dtype=np.float64).T)


def _columns(transformer: object, signature: Signature) -> Encode | None:
    """Return an encoder that does the work of a ColumnTransformer, with a dense matrix as its result."""
    parts: list[tuple[list[int], Encode]] = []
    at = {name: position for position, name in enumerate(signature.names)}
    for _, fitted, chosen in cast("list[tuple[str, object, Any]]", cast("Any", transformer).transformers_):
        if fitted == "drop":
            continue
        if not isinstance(chosen, (list, tuple)) or not chosen or not set(cast("list[object]", chosen)) <= at.keys():
            return None
        positions = [at[name] for name in cast("list[str]", chosen)]
        kinds = {signature.columns[position].kind for position in positions}
        part = _categories(fitted) if kinds == {"string"} else _filled(fitted) if kinds <= WHOLE_FLOATS else None
        if part is None:
            return None
        parts.append((positions, part))

    def encode(columns: Sequence[Values]) -> Matrix:
        return np.hstack([part([columns[position] for position in positions]) for positions, part in parts])

    return encode if parts else None


def _filled(fitted: object) -> Encode | None:
    """Return a function for numeric columns, which apply one step or a pipeline of steps."""
    steps = [_transform(step) for step in steps_of(fitted)]
    if None in steps:
        return None

    def fill(columns: Sequence[Values]) -> Matrix:
        matrix: Matrix = np.array(columns, dtype=np.float64).T
        for step in steps:
            matrix = step(matrix) if step else matrix
        return matrix

    return fill


def _categories(fitted: object) -> Encode | None:
    """Return a function that encodes string columns as numbers."""
    encoder, kind = cast("Any", fitted), known(fitted)
    if kind not in {"OneHotEncoder", "OrdinalEncoder"}:
        return None
    stored = cast("list[Matrix]", encoder.categories_)
    if not all(words.dtype == object and all(isinstance(word, str) for word in words) for words in stored):
        return None
    categories: list[list[str]] = [list(words) for words in stored]
    return _ordinal(encoder, categories) if kind == "OrdinalEncoder" else _one_hot(encoder, categories)


def _ordinal(fitted: object, categories: list[list[str]]) -> Encode:
    """Return a function that encodes each string as its index among the known categories."""
    encoder = cast("Any", fitted)
    refuses: bool = encoder.handle_unknown == "error"
    unknown = np.nan if refuses else float(encoder.unknown_value)
    positions = [{word: float(position) for position, word in enumerate(known)} for known in categories]

    def encode(columns: Sequence[Values]) -> Matrix:
        found = np.array(
            [_looked_up(column, position, unknown) for column, position in zip(columns, positions, strict=True)]
        )
        if refuses and np.isnan(found).any():
            raise UnsureError("a row has a category that the encoder does not know")
        return found.T

    return encode


def _one_hot(fitted: object, categories: list[list[str]]) -> Encode:
    """Return a function that encodes each string as zeros with a single one; an unknown string is all zeros."""
    encoder = cast("Any", fitted)
    refuses: bool = encoder.handle_unknown == "error"
    starts = list(accumulate(map(len, categories), initial=0))
    width = starts.pop()
    positions: list[Mapping[str, int]] = [
        {word: start + position for position, word in enumerate(known)}
        for start, known in zip(starts, categories, strict=True)
    ]

    def encode(columns: Sequence[Values]) -> Matrix:
        # One more column, for unknown strings.
        matrix = np.zeros((len(columns[0]), width + 1))
        rows = np.arange(len(matrix))
        for column, position in zip(columns, positions, strict=True):
            found = _looked_up(column, position, width)
            if refuses and width in found:
                raise UnsureError("a row has a category that the encoder does not know")
            matrix[rows, found] = 1
        return matrix[:, :width]

    return encode


def _looked_up(column: Values, positions: Mapping[str, Any], unknown: float) -> Sequence[Any] | Matrix:
    """Return the position of each string of a column, or `unknown`."""
    if isinstance(column, Texts):
        return np.array([positions.get(word, unknown) for word in column.words]).take(column.indexes)
    return [positions.get(word, unknown) for word in column]


def _transform(step: object) -> Step | None:
    fitted, kind = cast("Any", step), known(step)
    if kind == "FunctionTransformer":
        return lambda matrix: matrix
    if kind == "StandardScaler":
        return _scaled(fitted.mean_ if fitted.with_mean else None, fitted.scale_ if fitted.with_std else None)
    if kind == "SimpleImputer":
        fill = np.asarray(fitted.statistics_)
        # scikit-learn decides whether a column that had no value in training is dropped.
        if fill.dtype.kind != "f" or np.isnan(fill).any() or getattr(step, "_fill_dtype", None) != np.float64:
            return None
        return lambda matrix: _fill(matrix, fill)
    return None


def _fill(matrix: Matrix, fill: Matrix) -> Matrix:
    return np.where(np.isnan(matrix), fill, matrix)


def _scaled(mean: Matrix | None, scale: Matrix | None) -> Step:
    def scaled(matrix: Matrix) -> Matrix:
        centred = matrix if mean is None else matrix - mean
        return centred if scale is None else centred / scale

    return scaled


def _trees(final: object, method: str) -> Decide | None:
    fitted = cast("Any", final)
    if known(final) in FORESTS:
        trees = cast("list[Tree]", [tree.tree_ for tree in fitted.estimators_])
    elif known(final) in TREES:
        trees = cast("list[Tree]", [fitted.tree_])
    else:
        return None
    if fitted.n_outputs_ != 1 or fitted.n_features_in_ > MOST_FEATURES:
        return None
    try:
        forest = Forest(trees)
    except OverflowError:
        return None

    def mean(matrix: Matrix, _: Sizes) -> Matrix:
        with np.errstate(over="ignore"):
            single = matrix.astype(np.float32)
        return forest(_finite(single))

    if not hasattr(final, "classes_"):
        return (lambda matrix, sizes: mean(matrix, sizes)[:, 0]) if method == "predict" else None
    classes: Matrix = fitted.classes_
    if method == "predict":
        return lambda matrix, sizes: classes.take(mean(matrix, sizes).argmax(axis=1))
    return mean if method == "predict_proba" else None


def _boosted(final: object, method: str) -> Decide | None:
    trees = boosted(final, method)
    return (lambda matrix, _: trees.predict(matrix)) if trees else None


def _network(final: object, method: str) -> Decide | None:
    """Return a function that computes each request alone, because the number of rows may change the rounding."""
    if method not in NETWORKS.get(known(final), ()):
        return None
    compute = cast("Step", getattr(final, method))

    def decide(matrix: Matrix, sizes: Sizes) -> Matrix:
        bounds = pairwise(accumulate(sizes, initial=0))
        return np.concatenate([compute(matrix[start:end]) for start, end in bounds])

    return decide


def _linear(final: object, method: str, *, named: bool) -> Decide | None:
    """Return a function that computes each request alone, because the number of rows changes the rounding of sums."""
    compute = _regression(final) if method == "predict" else None
    if known(final) == "LogisticRegression" and _dense(final):
        compute = _logistic(final, method)
    if compute is None:
        return None
    # A table is stored by columns, an array by rows.
    lay_out = np.asfortranarray if named else np.ascontiguousarray

    def decide(matrix: Matrix, sizes: Sizes) -> Matrix:
        bounds = pairwise(accumulate(sizes, initial=0))
        return np.concatenate([compute(lay_out(matrix[start:end])) for start, end in bounds])

    return lambda matrix, sizes: decide(_finite(matrix), sizes)


def _regression(final: object) -> Step | None:
    if known(final) not in REGRESSIONS or not _dense(final):
        return None
    fitted = cast("Any", final)
    weights, intercept = cast("Matrix", fitted.coef_).T, fitted.intercept_
    return lambda part: part @ weights + intercept


def _dense(linear: object) -> bool:
    return isinstance(getattr(linear, "coef_", None), np.ndarray)


def _logistic(final: object, method: str) -> Step | None:
    fitted = cast("Any", final)
    weights, intercept, classes = cast("Matrix", fitted.coef_).T, fitted.intercept_, cast("Matrix", fitted.classes_)
    if method == "predict" and len(classes) == 2:
        return lambda part: classes.take((part @ weights + intercept > 0).ravel().astype(np.intp))
    if method == "predict":
        return lambda part: classes.take((part @ weights + intercept).argmax(axis=1))
    if method == "predict_proba" and len(classes) == 2:
        return lambda part: _both(expit((part @ weights + intercept).ravel()))
    return (lambda part: _softmax(part @ weights + intercept)) if method == "predict_proba" else None


def _both(positive: Matrix) -> Matrix:
    return np.stack([1 - positive, positive], axis=1)


def _softmax(scores: Matrix) -> Matrix:
    shares = np.exp(scores - scores.max(axis=1).reshape(-1, 1))
    return shares / shares.sum(axis=1).reshape(-1, 1)


def _finite(matrix: Matrix) -> Matrix:
    """Return the matrix, or raise UnsureError if it has a value that is not finite."""
    if not np.isfinite(matrix).all():
        raise UnsureError("a number is missing or too large")
    return matrix
