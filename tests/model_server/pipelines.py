"""Random fitted models of every class that has a fast predictor, with every argument that it checks."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import mlflow.lightgbm as mlflow_lightgbm
import mlflow.sklearn as mlflow_sklearn
import mlflow.xgboost as mlflow_xgboost
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema, TensorSpec

from tests.model_server.zoo import Flavor

compose, encoders, ensembles, impute, lines, pipelines, trees = (
    cast("Any", import_module(f"sklearn.{part}"))
    for part in ("compose", "preprocessing", "ensemble", "impute", "linear_model", "pipeline", "tree")
)
lightgbm, xgboost = cast("Any", import_module("lightgbm")), cast("Any", import_module("xgboost"))
FLAVORS = {"sklearn": mlflow_sklearn, "lightgbm": mlflow_lightgbm, "xgboost": mlflow_xgboost}
STRANGE: Mapping[str, Sequence[Any]] = {
    "double": (None, None, 0.0, -0.0, 1e30, -1e300, 1e-320, 2.0**24 + 1),
    "long": (0, 2**53, -(2**53), 2**24 + 1),
    "integer": (0, 2**31 - 1, -(2**31), 2**24 + 1),
    "string": ("", "nan", "new", "s0", "None"),
}
OBJECTIVES: Mapping[tuple[str, str], Sequence[str]] = {
    ("lightgbm", "Classifier"): ("binary", "multiclassova"),
    ("lightgbm", "Ranker"): ("lambdarank", "rank_xendcg"),
    ("lightgbm", "Regressor"): ("regression", "regression_l1", "huber", "quantile"),
    ("xgboost", "Classifier"): (
        "binary:logistic",
        "binary:logitraw",
        "binary:hinge",
        "multi:softmax",
        "multi:softprob",
    ),
    ("xgboost", "Regressor"): ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror"),
}
Rows = list[tuple[Any, ...]]


@dataclass
class Made:
    """A saved model; `requests` are rows to send to it."""

    title: str
    flavor: str
    requests: list[Rows]
    columns: Mapping[str, str]
    named: bool


class Maker:
    """Makes one model. The same seed gives the same model."""

    def __init__(self, seed: str) -> None:
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(list(seed.encode()))
        # Most models have few arguments of their own: a single one that the fast path refuses would hide all others.
        self.share = self.rng.choice((0.02, 0.1, 0.35))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def some(self, **choices: Sequence[Any]) -> dict[str, Any]:
        """Return some of the arguments, each with one of its values; the others keep their defaults."""
        return {name: self.rng.choice(values) for name, values in choices.items() if self.chance(self.share)}

    def save(self, folder: Path) -> Made:
        """Fit a model, and save it in the folder with MLflow."""
        named = self.chance(0.85)
        numbers = [f"n{place}" for place in range(self.rng.randint(1, 5))]
        words = [f"w{place}" for place in range(self.rng.randint(1, 3))] if named and self.chance(0.6) else []
        kinds = self.kinds(numbers, named=named) | dict.fromkeys(words, "string")
        table = self.table(kinds, 120)
        classes = self.rng.choice((0, 2, 2, 3))
        final = self.final(classes, lines=not words or self.chance(0.1))
        steps = [self.columns(numbers, words)] if words else []
        steps += [self.step() for _ in range(self.rng.choice((0, 0, 0, 1) if words else (0, 0, 1, 2)))]
        estimator = pipelines.make_pipeline(*steps, final, **self.some(verbose=[False])) if steps else final
        given: Any = table if named else table.to_numpy(np.int64 if kinds["n0"] == "long" else np.float64)
        self.fit(estimator, final, given, self.labels(table, classes))
        flavor = "sklearn"
        if not steps:
            flavor = {"lightgbm": "lightgbm", "xgboost": "xgboost"}.get(type(final).__module__.split(".")[0], "sklearn")
            if flavor != "sklearn" and self.chance(0.3):
                estimator = final.booster_ if flavor == "lightgbm" else final.get_booster()
            elif self.chance(0.3):
                flavor = "sklearn"
        more: dict[str, Any] = {}
        if flavor == "sklearn":
            more["serialization_format"] = self.rng.choice(("cloudpickle", "cloudpickle", "pickle"))
            if classes and hasattr(final, "predict_proba"):
                more["pyfunc_predict_fn"] = self.rng.choice(("predict", "predict_proba"))
        inputs = (
            Schema([ColSpec(kind, name) for name, kind in kinds.items()])
            if named
            else Schema([TensorSpec(given.dtype, (-1, len(kinds)))])
        )
        cast("Flavor", FLAVORS[flavor]).save_model(
            estimator, str(folder), signature=ModelSignature(inputs), pip_requirements=[], **more
        )
        sizes = [self.rng.choice((1, 1, 2, 3, 17)) for _ in range(5)]
        pool = self.table(kinds, 60)
        requests = [[self.row(pool, kinds) for _ in range(size)] for size in sizes]
        return Made(f"{estimator!r} {more} {flavor}", flavor, requests, kinds, named)

    def kinds(self, names: Sequence[str], *, named: bool) -> dict[str, str]:
        if not named or self.chance(0.25):
            return dict.fromkeys(names, self.rng.choice(("double", "double", "long")))
        return {name: self.rng.choice(("double", "double", "long", "integer")) for name in names}

    def table(self, kinds: Mapping[str, str], rows: int) -> pd.DataFrame:
        """Return numbers around different means, and string columns with few or many categories."""
        table: dict[str, Any] = {}
        for name, kind in kinds.items():
            scale = 10 ** (len(name + kind) % 4) * (1 + int(name[1:]))
            if kind == "string":
                many = (3, 40, 9)[int(name[1:])]
                table[name] = [f"{name[0]}{place}" for place in self.numbers.integers(0, many, rows)]
            elif kind == "double":
                table[name] = self.numbers.normal(scale, scale, rows)
            else:
                table[name] = self.numbers.integers(-9, 9 + scale, rows).astype(np.int32 if kind == "integer" else int)
        return pd.DataFrame(table)

    def labels(self, table: pd.DataFrame, classes: int) -> Any:
        scores = sum(
            (pd.factorize(table[name])[0] if table[name].dtype.kind not in "if" else table[name]).argsort() % 97
            for name in table.columns
        )
        score = np.asarray(scores, dtype=float) + self.numbers.normal(size=len(table)) * 9
        if not classes:
            return score
        return np.asarray(pd.qcut(score, classes, labels=False))

    def fit(self, estimator: Any, final: Any, given: Any, labels: Any) -> None:
        native = type(final).__module__.startswith("xgboost")
        if type(final).__name__.endswith("Ranker"):
            prefix = "" if estimator is final else f"{estimator.steps[-1][0]}__"
            grades = cast("Any", pd).qcut(labels, 3, labels=False)
            estimator.fit(given, grades, **{f"{prefix}group": [len(given) // 3, len(given) - len(given) // 3]})
            return
        if len(set(labels)) < 9 and not native and self.chance(0.4):
            labels = np.array(["no", "yes", "perhaps"], dtype=object)[labels]
        estimator.fit(given, labels)

    def row(self, pool: pd.DataFrame, kinds: Mapping[str, str]) -> tuple[Any, ...]:
        row = [pool[name].tolist()[self.rng.randrange(len(pool))] for name in kinds]
        if self.chance(0.3):
            place = self.rng.randrange(len(row))
            row[place] = self.rng.choice(STRANGE[list(kinds.values())[place]])
        return tuple(row)

    def columns(self, numbers: Sequence[str], words: Sequence[str]) -> Any:
        cut = self.rng.randint(0, len(numbers))
        blocks: list[tuple[str, Any, list[str]]] = [
            ("left", self.numeric(), list(numbers[:cut])),
            ("right", self.numeric(), list(numbers[cut:])),
            *((f"of_{word}", self.encoder(1), [word]) for word in words),
        ]
        if self.chance(0.2):  # one for all of them
            blocks = [*blocks[:2], ("words", self.encoder(len(words)), list(words))]
        blocks = [block for block in blocks if block[2]]
        self.rng.shuffle(blocks)
        more = self.some(
            sparse_threshold=[0, 0.3, 1.0],
            transformer_weights=[None, None, {"left": 2.0}, {"words": 0.5}],
            remainder=["drop", "passthrough"],
            verbose_feature_names_out=[False],
        )
        if self.chance(0.1) and len(blocks) > 1:
            blocks.pop()
            more["remainder"] = "drop"
        return compose.ColumnTransformer(blocks, **more)

    def numeric(self) -> Any:
        if self.chance(0.4):
            return "passthrough"
        return pipelines.make_pipeline(self.step(), self.step()) if self.chance(0.3) else self.step()

    def step(self) -> Any:
        """Return a step that keeps the columns of a matrix."""
        choice = self.rng.choice(("scale", "scale", "fill", "fill", "same", *(["other"] if self.share > 0.1 else [])))
        if choice == "scale":
            return encoders.StandardScaler(**self.some(with_mean=[True, False], with_std=[True, False], copy=[False]))
        if choice == "fill":
            return impute.SimpleImputer(
                **self.some(
                    strategy=["mean", "median", "most_frequent", "constant"],
                    fill_value=[0, 7],
                    add_indicator=[True, False],
                    keep_empty_features=[True, False],
                    missing_values=[np.nan, 0],
                    copy=[True, False],
                )
            )
        if choice == "same":
            return encoders.FunctionTransformer(**self.some(func=[None, None, np.abs], validate=[True, False]))
        return encoders.MinMaxScaler()

    def encoder(self, columns: int) -> Any:
        given = [[f"w{place}" for place in reversed(range(40))]] * columns
        usual = self.some(min_frequency=[None, None, 3], max_categories=[None, None, 2], categories=["auto", given])
        if self.chance(0.6):
            return encoders.OneHotEncoder(
                **usual,
                **self.some(
                    drop=[None, "first", "if_binary"],
                    sparse_output=[True, False],
                    dtype=[np.float64, np.float32, np.int64],
                    handle_unknown=["error", "ignore", "infrequent_if_exist"],
                ),
            )
        unknown = self.rng.choice((np.nan, -1, 99))
        careful = {"handle_unknown": "use_encoded_value", "unknown_value": unknown} if self.chance(0.6) else {}
        kinds = [np.float64] if careful and np.isnan(unknown) else [np.float64, np.float32, np.int64]
        return encoders.OrdinalEncoder(**usual, **careful, **self.some(dtype=kinds, encoded_missing_value=[-5, np.nan]))

    def final(self, classes: int, *, lines: bool) -> Any:
        kind = "Classifier" if classes else "Regressor"
        depth = self.some(max_depth=[1, 3, 9], min_samples_leaf=[1, 5], random_state=[1])
        few = {"n_estimators": self.rng.choice((1, 5, 12))}
        makers: list[Callable[[], Any]] = [
            lambda: getattr(trees, f"DecisionTree{kind}")(**depth),
            lambda: getattr(ensembles, f"RandomForest{kind}")(
                **few, **depth, **self.some(n_jobs=[1], bootstrap=[False])
            ),
            lambda: getattr(ensembles, f"ExtraTrees{kind}")(**few, **depth),
            *([lambda: self.line(classes)] * 3 * lines),
            lambda: self.lightgbm(self.rng.choice((kind, kind, kind if classes else "Ranker")), few),
            lambda: self.xgboost(kind, few),
            lambda: self.xgboost(kind, few),
        ]
        return self.rng.choice(makers)()

    def line(self, classes: int) -> Any:
        if not classes:
            name = self.rng.choice(("LinearRegression", "Ridge", "Lasso", "ElasticNet"))
            return getattr(lines, name)(**self.some(fit_intercept=[False], positive=[True]))
        solvers = ["lbfgs", "newton-cg", *(["liblinear"] if classes == 2 else [])]
        return lines.LogisticRegression(
            max_iter=60, **self.some(solver=solvers, C=[0.1, 10], class_weight=["balanced"], fit_intercept=[False])
        )

    def lightgbm(self, kind: str, few: Mapping[str, int]) -> Any:
        more = self.some(
            boosting_type=["gbdt", "dart"],
            pred_early_stop=[True],
            **({"linear_tree": [True]} if self.chance(0.5) else {"zero_as_missing": [True]}),
            use_missing=[False],
            max_depth=[2, 5],
            class_weight=["balanced"] if kind == "Classifier" else [None],
            objective=OBJECTIVES["lightgbm", kind],
        )
        return getattr(lightgbm, f"LGBM{kind}")(**few, min_child_samples=3, verbosity=-1, n_jobs=1, **more)

    def xgboost(self, kind: str, few: Mapping[str, int]) -> Any:
        more = self.some(
            booster=["gbtree", "dart", "gblinear"],
            missing=[np.nan, np.nan, 0.0, -1.0],
            max_depth=[1, 4],
            tree_method=["exact", "hist"],
            learning_rate=[1.0],
            base_score=[0.3],
            num_parallel_tree=[3],
            objective=OBJECTIVES["xgboost", kind],
        )
        if kind == "Regressor" and self.chance(0.2):
            more.pop("objective", None)
            return xgboost.XGBRanker(**few, n_jobs=1, **more)
        if self.chance(0.2):
            more = {name: value for name, value in more.items() if name not in {"booster", "num_parallel_tree"}}
            return getattr(xgboost, f"XGBRF{kind}")(**few, n_jobs=1, **more)
        return getattr(xgboost, f"XGB{kind}")(**few, n_jobs=1, **more)
