"""Puts every tool in place, and a link to it into the lab's `bin/`."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from lab import paths
from lab.errors import LabError
from lab.tools.build import Pending, build, folder, go, look
from lab.tools.catalog import APT_PACKAGES, CATALOG, GROUPS, Module, OnPath
from lab.tools.progress import seconds, watching

LOOKS_BESIDE_ITSELF = frozenset({"pulumi", "pulumi-language-python"})
"""Look for other commands in the folder where they really lie, so a symbolic link into their own will not do."""


def install(console: Console, names: Iterable[str]) -> None:
    """Every command of the named modules or groups is linked in `bin/` afterwards; builds what is found nowhere."""
    sources = [(module, on_path(module.instead)) for module in chosen_modules(names)]
    missing = [module for module, found in sources if not found and not folder(module).is_dir()]
    if missing:
        _build_all(console, missing)
    for module, found in sources:
        _link(found or {command: folder(module) / command for command in module.commands})


def install_packages(console: Console) -> None:
    """The Debian packages that the lab's cluster needs are installed afterwards."""
    missing = missing_packages()
    if not missing:
        return
    wanted = " ".join(missing)
    if not shutil.which("apt-get"):
        raise LabError(f"{wanted}: not on PATH, and this system has no apt-get to install them; install them by hand")
    if os.geteuid() != 0:
        raise LabError(f"{wanted}: not on PATH, and only root may install them; run: sudo apt-get install {wanted}")
    console.print(f"installing Debian packages: {wanted}", highlight=False)
    for step in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", *step],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason given")
            raise LabError(f"apt-get {step[0]} failed while installing {wanted}: {last}")


def chosen_modules(names: Iterable[str]) -> list[Module]:
    """The modules that names of modules and groups stand for; all of them for no name."""
    wanted = list(names) or list(CATALOG)
    known = sorted({*CATALOG, *GROUPS})
    for name in wanted:
        if name not in known:
            raise LabError(f"{name}: no such tool; the lab knows {', '.join(known)}")
    chosen = {member for name in wanted for member in GROUPS.get(name, (name,))}
    return [module for module in CATALOG.values() if module.name in chosen]


def _build_all(console: Console, missing: list[Module]) -> None:
    queue = [_look(console, module) for module in missing]
    names = ", ".join(module.name for module in missing)
    needed = sum(pending.bytes for pending in queue)
    expected = seconds(sum(pending.seconds for pending in queue))
    console.print(f"to build: {names}; needs {_gib(needed)} of disk, about {expected}", highlight=False)
    check_disk(queue, {path: shutil.disk_usage(path).free for path in _disks()})
    with watching(console, queue) as watch:
        for pending in queue:
            watch.begin(pending)
            build(pending.module, watch.compiled)
            watch.end()


def _look(console: Console, module: Module) -> Pending:
    what = f"looking at the sources of {module.name}"
    if not console.is_terminal:
        console.print(what, highlight=False)
    with console.status(f"{what}; the first time, Go fetches them"):
        return look(module)


def missing_tools(names: Iterable[str]) -> list[str]:
    """Modules that `install` would build."""
    return [m.name for m in chosen_modules(names) if not on_path(m.instead) and not folder(m).is_dir()]


def missing_packages() -> list[str]:
    """Debian packages that `install_packages` would install."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return sorted({package for command, package in APT_PACKAGES.items() if not shutil.which(command, path=search)})


def check_disk(queue: list[Pending], free: dict[Path, int]) -> None:
    """Raises when the folder with least room could not take the whole build."""
    needed = sum(pending.bytes for pending in queue)
    for path, room in free.items():
        if room < needed:
            names = ", ".join(pending.module.name for pending in queue)
            raise LabError(
                f"{path} has {_gib(room)} free: building {names} needs {_gib(needed)}; "
                "free some space, or point LAB_CACHE, GOCACHE and GOMODCACHE to a larger disk"
            )


def _disks() -> list[Path]:
    told = subprocess.run([go()[0], "env", "GOCACHE", "GOMODCACHE"], check=True, capture_output=True, text=True)
    folders = [paths.tools(), *map(Path, told.stdout.split())]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    return folders


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def on_path(instead: OnPath | None) -> dict[str, Path] | None:
    """The system's own commands, when all are there and new enough."""
    if instead is None:
        return None
    own = str(paths.binaries())
    search = os.pathsep.join(part for part in os.environ.get("PATH", "").split(os.pathsep) if part != own)
    found = {command: shutil.which(command, path=search) for command in instead.commands}
    first = found[instead.commands[0]]
    if first is None or None in found.values():
        return None
    told = subprocess.run([first, *instead.version_arguments], capture_output=True, text=True, check=False).stdout
    if not instead.minimum <= version_of(told) < instead.below:
        return None
    return {command: Path(path) for command, path in found.items() if path}


def version_of(told: str) -> tuple[int, ...]:
    """The first thing like a version in a command's output; empty, thus older than any, when there is none."""
    found = re.search(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?", told)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def _link(commands: dict[str, Path]) -> None:
    paths.binaries().mkdir(parents=True, exist_ok=True)
    for command, target in commands.items():
        link, hard = paths.binaries() / command, command in LOOKS_BESIDE_ITSELF and _is_ours(target)
        if link.exists() and link.samefile(target) and link.is_symlink() != hard:
            continue
        fresh = link.with_name(f".{command}.{os.getpid()}")
        fresh.hardlink_to(target) if hard else fresh.symlink_to(target)
        fresh.replace(link)


def _is_ours(target: Path) -> bool:
    return target.is_relative_to(paths.tools())
