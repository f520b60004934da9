"""Churn model of boosted trees with early stopping. It trains on a GPU if there is one."""

import logging
from typing import Literal

import lightgbm
import numpy as np
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from training.project import Parameters, Project, Rows
from training.projects.churn import CATEGORIES, COLUMNS, INTEGERS, NUMBERS, SPLIT, TARGET

LOG = logging.getLogger("training")


class Boosting(Parameters):
    """Parameters of the boosted trees."""

    n_estimators: int = Field(default=1000, ge=1, le=100_000, description="greatest number of trees")
    learning_rate: float = Field(default=0.05, gt=0, le=1, description="how much a tree may change")
    num_leaves: int = Field(default=15, ge=2, le=10_000, description="greatest number of leaves of a tree")
    patience: int = Field(default=50, ge=1, description="number of trees without gain after which it stops")
    validation_share: float = Field(default=0.15, gt=0, lt=1, description="share of the rows that says when to stop")


def fit(data: Rows, parameters: Boosting) -> Pipeline:
    """Fit boosted trees. Missing numbers stay missing, and unknown categories count as missing."""
    learn, stop = data.divide(parameters.validation_share)
    numbers, categories = ([column.name for column in columns] for columns in ([*INTEGERS, *NUMBERS], CATEGORIES))
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    prepare = ColumnTransformer([("numbers", "passthrough", numbers), ("categories", encode, categories)])
    where = device()
    boost = lightgbm.LGBMClassifier(
        n_estimators=parameters.n_estimators,
        learning_rate=parameters.learning_rate,
        num_leaves=parameters.num_leaves,
        device_type=where,
        random_state=data.seed,
        deterministic=True,
        verbosity=-1,
    )
    boost.fit(
        prepare.fit_transform(learn.features),
        learn.labels,
        eval_X=prepare.transform(stop.features),
        # LightGBM 4.7 converts the labels of the training rows only.
        eval_y=(stop.labels == TARGET.labels[-1]).astype(int),
        categorical_feature=list(range(len(numbers), len(numbers) + len(categories))),
        callbacks=[lightgbm.early_stopping(parameters.patience, verbose=False)],
    )
    data.facts.update(device=where, trees=boost.best_iteration_)
    # A server has no GPU and predicts few rows at a time.
    return Pipeline([("prepare", prepare), ("boost", boost.set_params(device_type="cpu", n_jobs=1))])


def device() -> Literal["cpu", "gpu"]:
    """Return `gpu` if LightGBM can train on one through OpenCL, else `cpu`. It tries, as there is no other test."""
    try:
        lightgbm.LGBMClassifier(n_estimators=1, device_type="gpu", min_child_samples=1, verbosity=-1).fit(
            np.arange(20.0).reshape(-1, 1), np.arange(20) % 2
        )
    except lightgbm.basic.LightGBMError as error:
        LOG.info("LightGBM has no GPU (%s); it trains on the CPU", error)
        return "cpu"
    return "gpu"


PROJECT = Project(
    model="churn-boosted",
    columns=COLUMNS,
    target=TARGET,
    parameters=Boosting,
    fit=fit,
    split=SPLIT,
    slices=["contract"],
    packages=["lightgbm"],
)
