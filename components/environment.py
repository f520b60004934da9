"""Names of the environment variables that the images read: what the program promises to training/ and serving/."""

TRAINING = frozenset(
    {
        "DATASET",
        "EXPERIMENT",
        "GIT_COMMIT",
        "IMAGE",
        "MLFLOW_TRACKING_URI",
        "MODEL",
        "NODE_POOL",
        "PULUMI_URN",
        "STACK",
        "TRAINING_JOB",
    }
)
"""Set for every training container; a parameter cannot have one of these names."""
