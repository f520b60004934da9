"""Finds the version that a training run would repeat.

A run that repeats a version logs a warning and trains all the same, because its caller waits for a version of that run,
and may want to see that the same inputs give the same model. `pulumi up` cannot tell a restored parameter from a new
one either. The tag `duplicate_of` marks the new version as a repetition.
"""

from collections.abc import Mapping

from contract.tags import GIT_COMMIT
from training.registry import client as versions
from training.registry.client import Client

DUPLICATE_OF = "duplicate_of"
"""Tag of a version: number of the first version that was trained with the same parameters, dataset and code."""
CODE = ("project", "image", GIT_COMMIT)


def first(
    client: Client, model: str, origin: Mapping[str, str], dataset_digest: str, parameters: Mapping[str, object]
) -> int | None:
    """Return the oldest version with the same code, dataset and parameters; None if there is none.

    The code is known by its image or by a clean commit. If `origin` has neither, the result is None.
    """
    commit = origin.get(GIT_COMMIT, "")
    if not origin.get("image") and (not commit or commit.endswith("-dirty")):
        return None
    same = {**{name: origin.get(name) for name in CODE}, "dataset_digest": dataset_digest}
    texts = {name: str(value) for name, value in parameters.items()}
    for version in reversed(versions.versions(client, model)):
        if all(version.tags.get(name) == value for name, value in same.items()):
            run = versions.run(client, version)
            if run and texts.items() <= run.data.params.items():
                return int(version.version)
    return None
