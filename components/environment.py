"""Names of environment variables in the training container that no parameter can have."""

SET = frozenset(
    {"DATASET", "EXPERIMENT", "GIT_COMMIT", "IMAGE", "MODEL", "NODE_POOL", "PULUMI_URN", "STACK", "TRAINING_JOB"}
)
"""Those the program sets: the contract with training/settings.py."""

OF_OTHERS = frozenset({"HOME", "PATH", "TERMINATION_LOG"})
PREFIXES_OF_OTHERS = ("AWS_", "KUBERNETES_", "LD_", "MLFLOW_", "PYTHON")
"""Those the image, the libraries in it and Kubernetes rely on."""


def is_taken(name: str) -> bool:
    """Whether a parameter of this name would break something else in the container."""
    return name in SET | OF_OTHERS or name.startswith(PREFIXES_OF_OTHERS)
