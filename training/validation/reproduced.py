"""Check of a version that a notebook trained: a Job has reproduced it.

No commit has the cells of a notebook, and no image has its packages. So such a version passes only if a Job has
registered a version of the model with the same dataset, the same parameters and the same metrics.
"""

import shlex
from collections.abc import Iterator
from math import isclose

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from contract.tags import JOB_NAME, is_of_notebook
from training import project, reproduce
from training.registry import client as versions
from training.registry.client import Client
from training.validation.verdict import Check

INPUTS = ("project", "dataset_digest", "seed")
"""Tags of a version that a reproduction has with the same values."""


def check(client: Client, version: ModelVersion) -> Iterator[Check]:
    """Yield a check if a notebook trained the version; it is refused until a Job has reproduced the version."""
    run = versions.run(client, version)
    if not is_of_notebook(version.tags, run.data.tags if run else {}):
        return
    if run is None:
        fault = "a notebook trained it, and its run was deleted, so no Job can be compared with it; train it in a Job"
    elif missing := [name for name in INPUTS if not version.tags.get(name)]:
        fault = (
            f"a notebook trained it, and it has no tag {', '.join(missing)}, so no Job can be compared with it; train "
            "it in a Job"
        )
    elif other := _reproduction(client, version, run):
        said = f"the Job {other.tags[JOB_NAME]} registered version {other.version} with the same inputs and metrics"
        yield Check(name="notebook", outcome="passed", said=said)
        return
    else:
        fault = _not_reproduced(version, run)
    yield Check.of("notebook", [fault], "")


def _reproduction(client: Client, version: ModelVersion, run: Run) -> ModelVersion | None:
    """Return the newest version of a Job with the same inputs and metrics; None if there is none."""
    inputs = {name: version.tags[name] for name in INPUTS}
    for other in versions.versions(client, version.name):
        if JOB_NAME in other.tags and inputs.items() <= other.tags.items():
            again = versions.run(client, other)
            if again and not is_of_notebook(other.tags, again.data.tags) and _are_equal(inputs["project"], run, again):
                return other
    return None


def _are_equal(name: str, one: Run, other: Run) -> bool:
    """Return whether two runs have the same parameters and metrics of the project; other recorded values may differ."""
    old, new, same = one.data.metrics, other.data.metrics, reproduce.SAME
    return reproduce.parameters(name, one) == reproduce.parameters(name, other) and all(
        metric in old and metric in new and isclose(old[metric], new[metric], rel_tol=same, abs_tol=same)
        for metric in project.load(name).measured
    )


def _not_reproduced(version: ModelVersion, run: Run) -> str:
    name = version.tags["project"]
    values = [f"{key}={value}" for key, value in sorted(reproduce.parameters(name, run).items())]
    return (
        "a notebook trained it, and no Job has registered a version with the same dataset, parameters and metrics; run "
        f"`{shlex.join(['mlops', 'train', 'JOB', *values])}`, where JOB is the training job of the project {name} "
        "(declare a parameter that the job does not have under mlops:training.JOB.parameters), then release the "
        f"version of that Job, or run `{shlex.join(['mlops', 'validate', version.name, str(version.version)])}` again"
    )
