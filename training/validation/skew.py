"""Compares the packages of this process with those that a version was trained with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

STEPS = ("none", "patch", "minor", "any")
MLFLOW = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})
"""Packages of MLflow. Images have `mlflow-skinny` in their place, which loads models of other releases too."""


@dataclass(frozen=True)
class Difference:
    """Package with different versions at training and in this process."""

    package: str
    """Name of the package."""
    trained: str
    """Version of the package at training."""
    here: str
    """Version of the package in this process; empty if the package is missing."""
    step: str
    """Size of the difference between the versions: patch, minor or any."""

    def __str__(self) -> str:
        return f"{self.package} {self.here or 'is missing'} (trained with {self.trained})"


def differences(requirements: Sequence[str]) -> list[Difference]:
    """Return the differences between the lines of a requirements.txt and this process."""
    return list(_differences(requirements))


def beyond(found: Sequence[Difference], allowed: str) -> list[Difference]:
    """Return the differences that are larger than allowed."""
    return [difference for difference in found if STEPS.index(difference.step) > STEPS.index(allowed)]


def _differences(requirements: Sequence[str]) -> Iterator[Difference]:
    for line in requirements:
        try:
            requirement = Requirement(line.strip())
        except InvalidRequirement:
            continue  # a comment, an option, a path
        pinned = next((spec.version for spec in requirement.specifier if spec.operator == "=="), "")
        if requirement.marker and not requirement.marker.evaluate():
            continue
        is_mlflow = requirement.name in MLFLOW
        try:
            here = version("mlflow-skinny" if is_mlflow else requirement.name)
        except PackageNotFoundError:
            yield Difference(requirement.name, pinned or str(requirement.specifier) or "any", "", "any")
            continue
        if not requirement.specifier.contains(here, prereleases=True):
            step = "patch" if is_mlflow else _step(pinned, here)
            yield Difference(requirement.name, pinned or str(requirement.specifier), here, step)


def _step(requirement: str, here: str) -> str:
    try:
        one, other = Version(requirement).release, Version(here).release
    except InvalidVersion:
        return "any"
    if one[:1] != other[:1]:
        return "any"
    return "patch" if one[:2] == other[:2] else "minor"
