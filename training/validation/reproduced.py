"""Check of a version that a notebook trained: a Job has reproduced it.

No commit has the cells of a notebook, and no image has its packages. So such a version passes only if a Job has
registered a version of the model with the same dataset, the same recorded parameters and the same metrics.
"""

import shlex
from collections.abc import Iterator, Mapping
from math import isclose

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from contract.tags import JOB_NAME, NOTEBOOK
from training import reproduce
from training.registry import client as versions
from training.registry.client import Client
from training.validation.verdict import Check

ADDRESS = "dataset"
"""Parameter of a run that may differ: the same table may have an address on the laptop and one in the bucket."""
COST = "cost_"
"""Beginning of the metrics that say what a run took; they always differ."""


def check(client: Client, version: ModelVersion) -> Iterator[Check]:
    """Yield a check if a notebook trained the version; it is refused until a Job has reproduced the version."""
    if NOTEBOOK not in version.tags:
        return
    run = versions.run(client, version)
    if run is None:
        fault = "a notebook trained it, and its run was deleted, so no Job can be compared with it; train it in a Job"
        yield Check.of("notebook", [fault], "")
        return
    for other in versions.versions(client, version.name):
        if JOB_NAME in other.tags and (again := versions.run(client, other)) and _are_equal(run, again):
            said = f"the Job {other.tags[JOB_NAME]} registered version {other.version} with the same inputs and metrics"
            yield Check(name="notebook", outcome="passed", said=said)
            return
    project = version.tags["project"]
    values = [f"{name}={value}" for name, value in sorted(reproduce.parameters(project, run).items())]
    fault = (
        "a notebook trained it, and no Job has registered a version with the same dataset, parameters and metrics; run "
        f"`{shlex.join(['mlops', 'train', project, *values])}`, then release the version of that Job, or run `"
        f"{shlex.join(['mlops', 'validate', version.name, str(version.version)])}` again"
    )
    yield Check.of("notebook", [fault], "")


def _are_equal(one: Run, other: Run) -> bool:
    return _inputs(one) == _inputs(other) and _same(_measured(one), _measured(other))


def _inputs(run: Run) -> Mapping[str, str]:
    return {name: value for name, value in run.data.params.items() if name != ADDRESS}


def _measured(run: Run) -> Mapping[str, float]:
    return {name: value for name, value in run.data.metrics.items() if not name.startswith(COST)}


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    tolerance = reproduce.SAME
    return one.keys() == other.keys() and all(
        isclose(value, other[name], rel_tol=tolerance, abs_tol=tolerance) for name, value in one.items()
    )
