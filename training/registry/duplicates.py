"""Finds the version that a training run would only repeat.

A run that repeats one is told so and trains all the same. Whoever starts a run waits for a version of its own: `make
train` and the validation after it name the version by the run that made it, and a user may want to see that the same
inputs give the same model. `pulumi up` cannot tell a parameter that was put back from one that is new. The tag
`duplicate_of` keeps both apart afterwards.
"""

from collections.abc import Mapping

from mlflow.exceptions import MlflowException

from contract.tags import GIT_COMMIT
from training.registry import client as versions
from training.registry.client import Client

DUPLICATE_OF = "duplicate_of"
"""Tag of a version: number of the first one that was trained with the same parameters, dataset and code."""
CODE = ("project", "image", GIT_COMMIT)


def first(
    client: Client, model: str, origin: Mapping[str, str], dataset_digest: str, parameters: Mapping[str, object]
) -> int | None:
    """Return the oldest version with the same code, dataset and parameters; None if there is none.

    None as well where no tag of `origin` says which code this is: without an image, a commit with no changes on top.
    """
    commit = origin.get(GIT_COMMIT, "")
    if not origin.get("image") and (not commit or commit.endswith("-dirty")):
        return None
    same = {**{name: origin.get(name) for name in CODE}, "dataset_digest": dataset_digest}
    words = {name: str(value) for name, value in parameters.items()}
    for version in reversed(versions.versions(client, model)):
        if all(version.tags.get(name) == value for name, value in same.items()) and version.run_id:
            try:
                recorded = client.get_run(version.run_id).data.params
            except MlflowException as error:
                if error.error_code != versions.UNKNOWN:
                    raise
                continue  # somebody deleted the run
            if words.items() <= recorded.items():
                return int(version.version)
    return None
