"""Environment of a team's own training script, which the platform's training code does not run."""

import json
from collections.abc import Mapping

from contract.tags import JOB_NAME, SCRIPT, TRAINING_JOB

CONTEXT = "MLFLOW_RUN_CONTEXT"
"""Variable with tags, as one JSON object, that MLflow's client adds to each run."""
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
"""Variable with the experiment in which MLflow's client creates runs."""
VARIABLES: Mapping[str, str] = {
    "dataset": "DATASET",
    "image": "IMAGE",
    JOB_NAME: "JOB_NAME",
    "node_pool": "NODE_POOL",
    "pulumi_urn": "PULUMI_URN",
    "stack": "STACK",
    TRAINING_JOB: "TRAINING_JOB",
}
"""Tags of each run whose values are environment variables of the container."""
RESERVED = frozenset({"HOME", "HOSTNAME", "PARAMETERS", "PATH", "PROJECT", "REQUESTER", "SWEEP", "EXPERIMENT", "MODEL"})
PREFIXES = ("AWS_", "KUBERNETES_", "LD_", "MLFLOW_", "PARAMETER_", "PYTHON", "PULUMI_")


def run_context(**more: str) -> str:
    """Return the value of `MLFLOW_RUN_CONTEXT`, in which Kubernetes replaces each $(NAME) of a variable before it."""
    tags = {tag: f"$({variable})" for tag, variable in VARIABLES.items()}
    return json.dumps(tags | {SCRIPT: "true"} | more, sort_keys=True)


def parameter(value: object) -> str:
    """Return a parameter as the text of its environment variable: true, false, or the value as it is written."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_reserved(name: str) -> bool:
    """Return whether a parameter of this name would replace a variable of the platform or of the system."""
    upper = name.upper()
    return upper in RESERVED or upper in VARIABLES.values() or upper.startswith(PREFIXES)
