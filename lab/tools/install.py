"""Install the lab's tools, with a link to each in the lab's `bin/`."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from images.board import Board
from images.commands import output
from lab import paths
from lab.errors import LabError
from lab.tools import build
from lab.tools.build import Pending, folder, go, inspect, is_built
from lab.tools.catalog import APT_PACKAGES, CATALOG, GROUPS, PLUGIN_BUILD, Build, OnPath
from lab.tools.progress import Compilation, clock, expected_seconds

LOOKS_BESIDE_ITSELF = frozenset({"pulumi", "pulumi-language-python"})
"""Commands that look for others in their real folder; they get a hard link instead of a symbolic one."""
PACKAGE_BYTES, BUILD_BYTES = 1.7 * 2**20, 400 * 2**20
"""Disk in bytes for one compiled package with its source, and for the binaries of one build while it runs."""


def install(console: Console, names: Iterable[str]) -> None:
    """Link the commands of these builds or groups in `bin/`; build those that are neither on PATH nor in the cache."""
    sources = [(each, on_path(each.instead)) for each in chosen_builds(names)]
    if missing := [each for each, found in sources if not found and not is_built(each)]:
        _build(console, missing)
    for each, found in sources:
        if each is not PLUGIN_BUILD:  # the engine warns of a plugin on PATH (lab/kubernetes_plugin.py)
            _link(found or {command: folder(each) / command for command in each.commands})


def install_packages(console: Console) -> None:
    """Install the Debian packages that the lab's cluster needs."""
    missing = missing_packages()
    if not missing:
        return
    wanted = " ".join(missing)
    if not shutil.which("apt-get"):
        raise LabError(f"{wanted}: not on PATH, and this system has no apt-get to install them; install them yourself")
    if os.geteuid() != 0:
        raise LabError(f"{wanted}: not on PATH, and only root may install them; run: sudo apt-get install {wanted}")
    console.print(f"installing Debian packages: {wanted}", highlight=False)
    for step in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
        output(["apt-get", *step], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def chosen_builds(names: Iterable[str]) -> list[Build]:
    """Return the builds with these names or in groups with these names; all builds without names."""
    wanted = list(names) or list(CATALOG)
    known = sorted({*CATALOG, *GROUPS})
    for name in wanted:
        if name not in known:
            raise LabError(f"{name}: there is no such tool; write one of {', '.join(known)}")
    chosen = {member for name in wanted for member in GROUPS.get(name, (name,))}
    return [each for each in CATALOG.values() if each.name in chosen]


def missing_tools(names: Iterable[str]) -> list[str]:
    """Return the names of the builds that `install` would build."""
    return [each.name for each in chosen_builds(names) if not on_path(each.instead) and not is_built(each)]


def missing_packages() -> list[str]:
    """Return the Debian packages that `install_packages` would install."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return sorted({package for command, package in APT_PACKAGES.items() if not shutil.which(command, path=search)})


def _build(console: Console, missing: list[Build]) -> None:
    console.print(f"counting the packages of {', '.join(each.name for each in missing)}", highlight=False)
    with console.status("Go downloads them the first time"):
        pending = inspect(missing)
    size, time = _gib(disk_bytes(pending)), clock(expected_seconds(pending))
    console.print(f"to build: {pending.names}; needs {size} of disk, about {time}", highlight=False)
    check_disk(pending, {path: shutil.disk_usage(path).free for path in _disks()})
    with Board(console).line(f"building {pending.names}") as line:
        line.result = f"{pending.stale} of {pending.packages} packages were compiled"
        build.make(missing, Compilation(line, pending).compiled)


def disk_bytes(pending: Pending) -> float:
    """Estimate the disk that the builds need, in bytes."""
    return pending.stale * PACKAGE_BYTES + len(pending.builds) * BUILD_BYTES


def check_disk(pending: Pending, free: dict[Path, int]) -> None:
    """Raise LabError if a folder has not enough space for the builds. `free` is in bytes."""
    needed = disk_bytes(pending)
    for path, room in free.items():
        if room < needed:
            raise LabError(
                f"{path} has {_gib(room)} free, but building {pending.names} needs {_gib(needed)}; "
                "free some space, or set LAB_CACHE, GOCACHE and GOMODCACHE to folders on a larger disk"
            )


def _disks() -> list[Path]:
    folders = [paths.tools(), *map(Path, output([go()[0], "env", "GOCACHE", "GOMODCACHE"]).split())]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    return folders


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def on_path(instead: OnPath | None) -> dict[str, Path] | None:
    """Return the system's own commands if all are installed and new enough, else None."""
    if instead is None:
        return None
    own = str(paths.binaries())
    search = os.pathsep.join(part for part in os.environ.get("PATH", "").split(os.pathsep) if part != own)
    found = {command: shutil.which(command, path=search) for command in instead.commands}
    first = found[instead.commands[0]]
    if first is None or None in found.values():
        return None
    printed = subprocess.run([first, *instead.version_arguments], capture_output=True, text=True, check=False).stdout
    if not instead.minimum <= version_of(printed) < instead.below:
        return None
    return {command: Path(path) for command, path in found.items() if path}


def version_of(output: str) -> tuple[int, ...]:
    """Return the first version in a command's output; without one, an empty tuple, which is older than any."""
    found = re.search(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?", output)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def _link(commands: dict[str, Path]) -> None:
    paths.binaries().mkdir(parents=True, exist_ok=True)
    for command, target in commands.items():
        link, hard = paths.binaries() / command, command in LOOKS_BESIDE_ITSELF and target.is_relative_to(paths.tools())
        if link.exists() and link.samefile(target) and link.is_symlink() != hard:
            continue
        fresh = link.with_name(f".{command}.{os.getpid()}")
        fresh.hardlink_to(target) if hard else fresh.symlink_to(target)
        fresh.replace(link)
