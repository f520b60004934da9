"""Compares the packages that a version requires with those of the serving image, as the lock file pins them."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from model_preview.facts import Frozen

LIST = "model_server/requirements.in"
"""List from which the serving image is built, as comments of the lock file name it."""
EXCLUDED = "model_server/excluded.in"
"""List of packages that the serving image leaves out."""
MLFLOW = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})
"""Packages of MLflow. Every serving image has `mlflow-skinny`, which serves models of other releases too."""
# Environment of the serving image, for markers in requirements: Debian's Python 3.11 (model_server/Dockerfile).
_IMAGE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.2",
    "python_version": "3.11",
    "sys_platform": "linux",
}
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)(?:\s*;\s*([^\\\n]+?))?\s*\\?$")
_VIA = re.compile(r"^\s+#(?:\s+via(?=\s|$))?\s*(.*?)\s*$")


class Fit(StrEnum):
    """Result of a comparison of one package in the serving image with the one that a version requires."""

    SAME = "same"
    PATCH = "patch"
    """Another patch release, which a validation allows by default; for MLflow, any other release."""
    OTHER = "other"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """Result if the serving image's packages are not known."""


class Package(Frozen):
    """Package that a model version requires; `old`, `new` or `image` is empty where the package is missing."""

    name: str
    old: str
    """Version of the package that the served model version requires."""
    new: str
    image: str
    """Version of the package in the serving image."""
    fit: Fit

    @property
    def is_worth_showing(self) -> bool:
        """True if the release changes the package, or if the serving image has another one."""
        return self.old != self.new or self.fit in {Fit.PATCH, Fit.OTHER, Fit.MISSING}


def serving_image(lock: Path) -> dict[str, str] | None:
    """Return the packages of the serving image that a checkout's lock file pins; None if there is no such file."""
    if not lock.is_file():
        return None
    left_out = lock.parent / EXCLUDED
    return image_packages(lock.read_text(), listed(left_out.read_text()) if left_out.is_file() else [])


def image_packages(lock: str, excluded: Collection[str] = (), requirements: str = LIST) -> dict[str, str]:
    """Return the packages of the serving image, by canonical name, with their versions.

    Args:
        lock: text of requirements.lock, whose comments say which package requires which.
        excluded: names in model_server/excluded.in.
        requirements: the image's list, as the comments name it.
    """
    pinned = list(_pins(lock))
    found, wanted = dict[str, str](), {f"-r {requirements}"}
    left_out = {canonicalize_name(name) for name in excluded}
    grown = True
    while grown:
        more = {
            name: version for name, version, by in pinned if by & wanted and name not in found | dict.fromkeys(left_out)
        }
        found |= more
        wanted |= more.keys()
        grown = bool(more)
    return found


def listed(text: str) -> list[str]:
    """Return the lines of a list of packages, without its comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def compare(old: Sequence[str], new: Sequence[str], image: Mapping[str, str] | None) -> tuple[Package, ...]:
    """Return the packages that either version requires, sorted by name.

    Args:
        old: lines of the served version's requirements.txt; empty if unknown.
        new: lines of the new version's requirements.txt.
        image: packages of the serving image by name; None if they are not known.
    """
    before, after = _wanted(old), _wanted(new)
    return tuple(
        Package(
            name=name,
            old=_pin(before.get(name)),
            new=_pin(after.get(name)),
            image=(image or {}).get(_in_image(name), ""),
            fit=_fit(after.get(name), _in_image(name), image),
        )
        for name in sorted({*before, *after})
    )


def _pins(lock: str) -> Iterator[tuple[str, str, set[str]]]:
    """Yield each package of the lock that a Linux image installs: name, version, and the packages that require it."""
    name, version = "", ""
    by = set[str]()
    for line in [*lock.splitlines(), "end==0"]:
        if pin := _PIN.match(line):
            if name:
                yield name, version, by
            applies = not pin[3] or Marker(pin[3]).evaluate(_IMAGE)
            name, version, by = canonicalize_name(pin[1]) if applies else "", pin[2], set[str]()
        elif (via := _VIA.match(line)) and via[1]:
            by.add(via[1])


def _wanted(lines: Sequence[str]) -> dict[str, Requirement]:
    """Return the requirements by package name; lines that are options, paths or comments are left out."""
    found: dict[str, Requirement] = {}
    for line in lines:
        try:
            one = Requirement(line.split(" #")[0].strip())
        except InvalidRequirement:
            continue
        if not one.marker or one.marker.evaluate(_IMAGE):
            found[canonicalize_name(one.name)] = one
    return found


def _pin(wanted: Requirement | None) -> str:
    if wanted is None:
        return ""
    exact = [spec.version for spec in wanted.specifier if spec.operator == "=="]
    return exact[0] if exact else str(wanted.specifier) or "any"


def _in_image(name: str) -> str:
    """Return the package of the serving image that takes the place of a required one."""
    return "mlflow-skinny" if name in MLFLOW else name


def _fit(wanted: Requirement | None, name: str, image: Mapping[str, str] | None) -> Fit:
    if wanted is None:
        return Fit.SAME
    if image is None:
        return Fit.UNKNOWN
    if name not in image:
        return Fit.MISSING
    if wanted.specifier.contains(image[name], prereleases=True):
        return Fit.SAME
    try:
        one, other = Version(_pin(wanted)).release, Version(image[name]).release
    except InvalidVersion:
        one, other = (), (0, 0)
    return Fit.PATCH if one[:2] == other[:2] or name in MLFLOW else Fit.OTHER
