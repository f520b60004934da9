"""Environment variables that the gate reads."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Environment of the process that runs `pulumi`."""

    tracking_uri: str
    """MLFLOW_TRACKING_URI: address of MLflow; empty: kubectl forwards a port to the stack's MLflow."""
    tracking_token: str
    """MLFLOW_TRACKING_TOKEN: bearer token for MLflow; empty if it needs none."""
    model_report: Path | None
    """MLOPS_MODEL_REPORT: file that a preview writes for `mlops preview` instead of failing; None: it fails."""


def read() -> Environment:
    """Return the settings of this process."""
    report = os.environ.get("MLOPS_MODEL_REPORT")
    return Environment(
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", ""),
        tracking_token=os.environ.get("MLFLOW_TRACKING_TOKEN", ""),
        model_report=Path(report) if report else None,
    )
