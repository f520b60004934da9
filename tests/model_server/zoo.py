"""Models of several kinds, saved with MLflow."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import mlflow.pyfunc
import mlflow.sklearn as mlflow_sklearn
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

# scikit-learn carries no types.
ensembles, lines, pipelines, scalers, trees = (
    cast("Any", import_module(f"sklearn.{part}"))
    for part in ("ensemble", "linear_model", "pipeline", "preprocessing", "tree")
)
COLUMNS = {"a": "double", "b": "long", "c": "double", "d": "integer"}
ECHO = '''
import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel


class Echo(PythonModel):
    """Says what it was given, with the type of each column."""

    def predict(self, context, model_input: pd.DataFrame, params=None):
        types = [f"{name}: {kind}" for name, kind in model_input.dtypes.items()]
        return [[repr(value) for value in row] + types + [repr(params)] for row in model_input.itertuples()]


mlflow.models.set_model(Echo())
'''


class Flavor(Protocol):
    def save_model(self, *model: object, **more: object) -> None: ...


def table(rows: int, classes: int = 2) -> tuple[pd.DataFrame, "np.ndarray[Any, Any]"]:
    """Return a table with the columns above, and a label for each row that depends on all of them."""
    rng = np.random.default_rng(rows)
    values = pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "b": rng.integers(-50, 50, size=rows),
            "c": rng.exponential(size=rows),
            "d": rng.integers(0, 9, size=rows).astype(np.int32),
        }
    )
    score = values.a + values.b / 30 + values.c * (values.d > 4) + rng.normal(scale=0.5, size=rows)
    return values, np.asarray(pd.qcut(score, classes, labels=False))


def signature(columns: Mapping[str, str] = COLUMNS) -> ModelSignature:
    """Return a signature with these columns, all required."""
    return ModelSignature(Schema([ColSpec(kind, name) for name, kind in columns.items()]))


def save_sklearn(folder: Path, estimator: object, *, method: str = "predict", tensor: bool = False) -> Path:
    """Fit the estimator on a table (or, as a `tensor`, on an array) and save it in the folder."""
    values, labels = table(300, 3 if "three" in folder.name else 2)
    given: Any = values.to_numpy(dtype=np.float64) if tensor else values
    cast("Any", estimator).fit(given, labels)
    inputs = Schema([TensorSpec(np.dtype(np.float64), (-1, 4))]) if tensor else signature().inputs
    cast("Flavor", mlflow_sklearn).save_model(
        estimator,
        str(folder),
        signature=ModelSignature(inputs),
        pyfunc_predict_fn=method,
        pip_requirements=[],
        serialization_format="cloudpickle",
    )
    return folder


ECHOED = {"a": "double", "b": "long", "c": "float", "d": "boolean", "e": "string", "f": "integer"}


def save_echo(folder: Path, *, params: bool = False, kinds: Mapping[str, str] = ECHOED) -> Path:
    """Save a model that returns its input."""
    folder.parent.mkdir(exist_ok=True)
    code = folder.parent / "echo.py"
    code.write_text(ECHO)
    schema: Any = ParamSchema([ParamSpec("k", "long", 3)]) if params else None
    cast("Flavor", mlflow.pyfunc).save_model(
        str(folder),
        python_model=str(code),
        signature=ModelSignature(signature(kinds).inputs, params=schema),
        pip_requirements=[],
    )
    return folder


ZOO: Mapping[str, Callable[[Path], Path]] = {
    "a forest": lambda path: save_sklearn(path, ensembles.RandomForestClassifier(20, random_state=1)),
    "probabilities of a forest": lambda path: save_sklearn(
        path, ensembles.RandomForestClassifier(20, random_state=1), method="predict_proba"
    ),
    "a forest of numbers": lambda path: save_sklearn(path, ensembles.RandomForestRegressor(15, random_state=1)),
    "a tree of three classes": lambda path: save_sklearn(
        path, trees.DecisionTreeClassifier(max_depth=5, random_state=1)
    ),
    "probabilities of a regression": lambda path: save_sklearn(
        path,
        pipelines.make_pipeline(scalers.StandardScaler(), lines.LogisticRegression()),
        method="predict_proba",
    ),
    "a regression of three classes": lambda path: save_sklearn(path, lines.LogisticRegression(max_iter=2000)),
    "probabilities of three classes": lambda path: save_sklearn(
        path, lines.LogisticRegression(max_iter=2000), method="predict_proba"
    ),
    "a line on a bare array": lambda path: save_sklearn(path, lines.LinearRegression(), tensor=True),
    "a pipeline that is not taken apart": lambda path: save_sklearn(
        path,
        pipelines.make_pipeline(scalers.MinMaxScaler(), lines.LogisticRegression()),
    ),
    "a pyfunc": save_echo,
    "a pyfunc with params": lambda path: save_echo(path, params=True),
}
QUICK: Sequence[str] = [name for name in ZOO if "pyfunc" not in name and "not taken apart" not in name]
