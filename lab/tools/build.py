"""Builds a pinned Go module into the content-addressed cache.

Same inputs, same folder: whichever clone comes second finds it built. A build that is interrupted leaves no folder, and
the next one goes on from what Go's own cache holds.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab import paths
from lab.errors import LabError
from lab.tools.catalog import Module

OLDEST_GO = (1, 26)


@dataclass(frozen=True)
class Pending:
    """A module that is to be built: what is known before the compiler starts."""

    module: Module
    packages: int
    """How many Go packages it consists of."""
    stale: int
    """How many of them Go's cache does not hold."""

    @property
    def seconds(self) -> float:
        """About what the build takes; linking takes a tenth of a cold build."""
        return self.module.cold_seconds * max(0.1, self.stale / self.packages)

    @property
    def bytes(self) -> int:
        """About what the build adds to the disk; a quarter of a cold build is binaries and what links them."""
        return int(self.module.disk_mib * 2**20 * max(0.25, self.stale / self.packages))


@cache
def go() -> tuple[str, str]:
    """The Go command and what it says of itself: version, system and processor."""
    command = shutil.which("go")
    if command is None:
        raise LabError(
            f"go is not on PATH: the lab builds its tools with Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer; install it"
        )
    version = subprocess.run(
        [command, "env", "GOVERSION", "GOOS", "GOARCH"], check=True, capture_output=True, text=True
    )
    told = version.stdout.split()
    if tuple(int(part) for part in told[0].removeprefix("go").split(".")[:2]) < OLDEST_GO:
        raise LabError(f"{command} is {told[0]}: the lab's tools need Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer")
    return command, " ".join(told)


def flags(module: Module) -> list[str]:
    """No cgo (no compiler needed, static binaries), no paths of this machine, no debug tables."""
    variables = "".join(f" -X {name}={value}" for name, value in module.variables.items())
    tags = [f"-tags={module.tags}"] if module.tags else []
    return ["-mod=readonly", "-buildvcs=false", "-trimpath", *tags, f"-ldflags=-s -w{variables}"]


def folder(module: Module) -> Path:
    """Where the module's commands are once built; its name changes with all that could change them."""
    digest = hashlib.sha256()
    parts = [go()[1], *flags(module), repr(sorted(module.packages.items())), repr(sorted(module.files.items()))]
    sources = [path for path in sorted(module.folder.rglob("*")) if path.suffix in {".go", ".mod", ".sum"}]
    for part in [*parts, *(f"{path.relative_to(module.folder)}\0{path.read_text()}" for path in sources)]:
        digest.update(part.encode() + b"\0")
    return paths.tools() / f"{module.name}-{digest.hexdigest()[:16]}"


def look(module: Module) -> Pending:
    """Counts packages; fetches the module's sources when Go's cache lacks them."""
    listed = _go(module, "list", "-deps", *flags(module), "-f", "{{.Stale}}", *module.packages.values())
    stale = listed.stdout.split()
    return Pending(module, len(stale), stale.count("true"))


def build(module: Module, on_package: Callable[[str], None]) -> Path:
    """The folder with the module's commands, built; `on_package` hears of each package as it is compiled."""
    target = folder(module)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        for line in _compile(module, made):
            on_package(line)
        _complete(module, made)
        if not target.exists():
            made.rename(target)
    return target


def _compile(module: Module, into: Path) -> Iterator[str]:
    """Each package as it is compiled: of what `go build -v` says, the lines that are one word."""
    arguments = ["build", "-v", *flags(module), "-o", f"{into}/", *module.packages.values()]
    said: list[str] = []
    with subprocess.Popen(
        [go()[0], *arguments], cwd=module.folder, env=_environment(), stderr=subprocess.PIPE, text=True
    ) as compiler:
        try:
            for line in map(str.strip, compiler.stderr or ()):
                if " " in line:
                    said.append(line)
                else:
                    yield line
        except BaseException:
            compiler.terminate()
            raise
    if compiler.returncode:
        raise LabError(f"{module.name} did not build: {reason(said)}")


def _complete(module: Module, made: Path) -> None:
    """Names the binaries as the lab calls them, and adds links and scripts."""
    for command, package in module.packages.items():
        built = [part for part in package.split("/") if not (part[0] == "v" and part[1:].isdigit())][-1]
        if built != command:
            (made / built).rename(made / command)
    for alias, command in module.aliases.items():
        (made / alias).symlink_to(command)
    for command, (source, path) in module.files.items():
        at = _go(module, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", source).stdout.strip()
        shutil.copyfile(Path(at) / path, made / command)
        (made / command).chmod(0o755)


def _go(module: Module, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [go()[0], *arguments], cwd=module.folder, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"{module.name} did not build: {reason(done.stderr.splitlines())}")
    return done


def _environment() -> dict[str, str]:
    """GOFLAGS and GOWORK of the user must not change what is built."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def reason(said: list[str]) -> str:
    """The first line that is not mere progress; Go says the cause before its consequences."""
    telling = [line for line in said if line and not line.startswith(("go: downloading", "go: added", "#"))]
    if any("no space left on device" in line for line in telling):
        return "the disk is full; free some space and run it again, it goes on where it stopped"
    return telling[0] if telling else "go said no reason; run it again, it goes on where it stopped"
