"""How the packages here differ from those that a version was made with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

STEPS = ("none", "patch", "minor", "any")


@dataclass(frozen=True)
class Difference:
    """A package that is not as the version wants it. `step` says how far off it is: patch, minor, or any."""

    package: str
    wanted: str
    here: str
    step: str

    def __str__(self) -> str:
        return f"{self.package} {self.here or 'is missing'} (made with {self.wanted})"


def differences(requirements: Sequence[str]) -> list[Difference]:
    """What the lines of a requirements.txt say, and is otherwise in this process."""
    return list(_differences(requirements))


def beyond(found: Sequence[Difference], allowed: str) -> list[Difference]:
    """Those that are further off than allowed."""
    return [difference for difference in found if STEPS.index(difference.step) > STEPS.index(allowed)]


def _differences(requirements: Sequence[str]) -> Iterator[Difference]:
    for line in requirements:
        try:
            wanted = Requirement(line.strip())
        except InvalidRequirement:
            continue  # a comment, an option, a path
        pinned = next((spec.version for spec in wanted.specifier if spec.operator == "=="), "")
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            here = version(wanted.name)
        except PackageNotFoundError:
            yield Difference(wanted.name, pinned or str(wanted.specifier) or "any", "", "any")
            continue
        if not wanted.specifier.contains(here, prereleases=True):
            yield Difference(wanted.name, pinned or str(wanted.specifier), here, _step(pinned, here))


def _step(wanted: str, here: str) -> str:
    try:
        one, other = Version(wanted).release, Version(here).release
    except InvalidVersion:
        return "any"
    if one[:1] != other[:1]:
        return "any"
    return "patch" if one[:2] == other[:2] else "minor"
