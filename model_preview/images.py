"""Serving image of a version: the standard image, the one that `mlops image` built for it, or one that a file names."""

from collections.abc import Mapping

from contract.untyped import mapping

AUTO = "auto"
"""Value of an endpoint's key `image`: the image that `mlops image` recorded for the version, or the standard one."""


def chosen(key: str, standard: str, recorded: str) -> str:
    """Return the image that serves a version.

    Args:
        key: value of the endpoint's key `image`; empty if it is not set.
        standard: value of `mlops:images.serving`.
        recorded: image that the registry records for the version; empty for none.
    """
    if key == AUTO:
        return recorded if recorded and is_of_platform(recorded, standard) else standard
    return key or standard


def is_of_platform(recorded: str, standard: str) -> bool:
    """Return whether a recorded image is in the repository of the standard image and names its content.

    Anybody who may write tags in MLflow can write another image there, and such an image must not run.
    """
    repository, name = _parts(recorded)
    return repository == _parts(standard)[0] and name.startswith(("sha256:", "own-"))


def of_stack_file(config: Mapping[str, object], name: str) -> dict[str, str]:
    """Return the values of `Gate` about images of an endpoint or batch from the keys of a stack file.

    A value of another form is left out.
    """
    entries = {**mapping(config.get("mlops:batch")), **mapping(config.get("mlops:endpoints"))}
    standard = mapping(config.get("mlops:images")).get("serving")
    found = {"image": mapping(entries.get(name)).get("image"), "standard_image": standard}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _parts(image: str) -> tuple[str, str]:
    """Return the repository of an image, and its digest or else its tag."""
    name, _, digest = image.partition("@")
    folder, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    return f"{folder}{slash}{base}", digest or tag
