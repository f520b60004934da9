"""Records a look in MLflow: a run with the report in the experiment `drift`, and tags of the version.

A look is recorded once for each window. The tag with the window's end is written last, so if the process is killed, the
next call records the window again. Two processes that record one window write the same tags. The run has the count of
windows, too: a window that a killed process has counted already is not counted twice.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from contract.tags import DRIFT_AT, DRIFT_RUN, DRIFT_STATUS, DRIFT_WINDOWS
from drift import report
from drift.look import Look, Request
from training.registry import client as versions
from training.registry.client import Client

EXPERIMENT = "drift"
"""Experiment of the runs that hold reports."""
SCHEDULED = "drift-scheduled"
"""Experiment of the runs of the endpoints' CronJobs, whose artifacts are in the folder that these may write to."""


def is_recorded(version: ModelVersion, request: Request) -> bool:
    """Return whether this window, or a later one, was recorded for the version."""
    return version.tags.get(DRIFT_AT, "") >= _end(request)


def record(client: Client, version: ModelVersion, look: Look, *, reports: str = "") -> str:
    """Write the look to MLflow and return the ID of its run.

    Args:
        client: client of the registry.
        version: version that was looked at, as the registry has it now.
        look: result.
        reports: URI of the folder for the reports of CronJobs; empty for a run in EXPERIMENT.
    """
    request, number = look.request, str(version.version)
    in_a_row = _windows(client, version, look)
    tags = {"model": request.model, "version": number, DRIFT_STATUS: look.status, DRIFT_AT: _end(request)}
    tags |= {DRIFT_WINDOWS: in_a_row}
    experiment = versions.experiment(client, SCHEDULED if reports else EXPERIMENT, reports or None)
    run_id = client.create_run(experiment, tags=tags, run_name=f"{request.model}-{number}-{_end(request)}").info.run_id
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (
            ("report.html", report.html(look)),
            ("report.json", json.dumps(report.as_json(look), indent=1, default=float)),
        ):
            (Path(folder) / name).write_text(text)
            client.log_artifact(run_id, str(Path(folder) / name))
    client.set_terminated(run_id)
    for key, value in ((DRIFT_RUN, run_id), (DRIFT_WINDOWS, in_a_row), (DRIFT_STATUS, look.status)):
        client.set_model_version_tag(version.name, number, key, value)
    client.set_model_version_tag(version.name, number, DRIFT_AT, _end(request))
    return run_id


def recorded_windows(tags: Mapping[str, str]) -> int:
    """Return the recorded number of windows in a row with an effect on the model; 0 if there is none."""
    text = tags.get(DRIFT_WINDOWS, "0")
    return int(text) if text.isdecimal() else 0


def windows_in_a_row(tags: Mapping[str, str], look: Look) -> int:
    """Return how many windows up to this one drifted in a row with an effect on the model.

    A window with too few rows neither counts nor ends the row.
    """
    former = recorded_windows(tags)
    if look.status == "too few rows":
        return former
    return former + 1 if look.has_effect else 0


def _windows(client: Client, version: ModelVersion, look: Look) -> str:
    """Return the number of windows in a row; if the last recorded run is about this window, the number that it has."""
    try:
        counted = client.get_run(version.tags[DRIFT_RUN]).data.tags if DRIFT_RUN in version.tags else {}
    except MlflowException as error:
        if error.error_code != versions.UNKNOWN:
            raise
        counted = {}  # the run was deleted
    if counted.get(DRIFT_AT) == _end(look.request) and DRIFT_WINDOWS in counted:
        return counted[DRIFT_WINDOWS]
    return str(windows_in_a_row(version.tags, look))


def _end(request: Request) -> str:
    return request.end.isoformat(timespec="seconds")
