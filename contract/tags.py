"""Names of the tags in MLflow that one room writes and another reads."""

from collections.abc import Mapping

GIT_COMMIT = "git_commit"
"""Tag of a run and of a version: the commit that the training code came from."""
TRAINING_JOB = "training_job"
"""Tag of a run and of a version: name of the training job in the stack file."""
JOB_NAME = "job_name"
"""Tag of a run and of a version: name of the Kubernetes Job that the run belongs to."""
BEST_RUN = "best_run"
"""Tag of the parent run of a sweep: ID of the run whose model was registered."""
SCRIPT = "script"
"""Tag of a run that a team's own script made, without a model project: `true`."""
NOTEBOOK = "notebook"
"""Tag of a version that a notebook trained: `true`."""
SOURCE_TYPE = "mlflow.source.type"
"""Tag that MLflow writes to each run: kind of program that made it, `NOTEBOOK` in Jupyter."""
OWN_METRICS = "own_metrics"
"""Tag of a version: JSON object with the metrics that its project adds to those of the task, and the side on which each
is better (`larger` or `smaller`)."""
MODEL_DIGEST = "model_digest"
"""Tag of a version: digest of its files (see `contract.digest`)."""
VALIDATION_STATUS = "validation_status"
"""Tag of a version: passed, refused, running or broken."""
VALIDATION_RUN = "validation_run"
"""Tag of a version: ID of the run that holds the report of its validation. Former releases kept the report in the
version's own run and wrote no such tag."""
VALIDATION_REPORT = "validation_report"
"""Tag of a version: path of the report among the artifacts of its run."""
VALIDATED_AGAINST = "validated_against"
"""Tag of a version: number of the champion that its validation compared it with; `none` if there was no champion."""
PROPOSED = "proposed"
"""Tag of a version that `mlops propose --tagged` proposes for release; any value but `false`."""
COMPARISON = "comparison"
"""Tag of a version: JSON with the decision of the last `mlops compare --record`, its experiment and its run."""
RELEASE_OVERRIDE = "release_override"
"""Tag of a version: JSON with the stack that released it in spite of the gate, the time and the reason."""
SERVING_IMAGE = "serving_image"
"""Tag of a version: image that `mlops image` built for its packages; without it, the standard image has them."""
DRIFT_STATUS = "drift_status"
"""Tag of a version: result of the last comparison that `mlops drift --record` recorded: drift, none or too few rows."""
DRIFT_AT = "drift_at"
"""Tag of a version: end of the last recorded window, in ISO 8601."""
DRIFT_RUN = "drift_run"
"""Tag of a version: ID of the run that holds the report of the last recorded window."""
DRIFT_WINDOWS = "drift_windows"
"""Tag of a version: number of recorded windows in a row, up to the last one, that drifted and changed predictions."""
OUTCOMES = "outcomes"
"""Tag of a version: JSON with the metrics of its predictions whose outcome is known, and when they were measured."""
RETRAIN = "retrain"
"""Tag of a version whose requests drifted: JSON with the training that replaces it (drift/retrain.py)."""


def is_of_notebook(version: Mapping[str, str], run: Mapping[str, str]) -> bool:
    """Return whether a notebook trained a version. Former releases wrote no tag; MLflow wrote one to the run.

    Args:
        version: tags of the version.
        run: tags of its run; empty if it has none.
    """
    return NOTEBOOK in version or run.get(SOURCE_TYPE) == "NOTEBOOK"
