"""Build commands from pinned Go modules into the lab's cache.

The folder of a build is named by a hash of its inputs, so a second clone uses the same one. An interrupted build leaves
no folder; the next build continues with Go's own cache.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from lab import paths
from lab.errors import LabError
from lab.tools.catalog import EMBEDDED, PLUGIN_MODULE, TAGS, VERSIONS, Build

OLDEST_GO = (1, 26)
SIZES = "sizes.json"
"""File beside the commands with their sizes in bytes, by which a truncated one is recognized."""
FLAGS = (
    "-mod=readonly",
    "-buildvcs=false",
    "-trimpath",
    f"-tags={TAGS}",
    f"-ldflags=-s -w{''.join(f' -X {name}={value}' for name, value in VERSIONS.items())}",
)
"""Flags of the compiler: no path of this machine, no debug tables. Without cgo (`_environment`) programs are static."""


@dataclass(frozen=True)
class Pending:
    """Builds that are missing, with the size of the work."""

    builds: Sequence[Build]
    packages: int
    """Number of Go packages of the missing builds."""
    stale: int
    """Number of packages that Go's cache does not have."""

    @property
    def names(self) -> str:
        """Names of the builds, for a person to read."""
        return ", ".join(build.name for build in self.builds)


@cache
def go() -> tuple[str, str]:
    """Return the Go command and its version, system and processor."""
    command = shutil.which("go")
    if command is None:
        raise LabError(
            f"go is not on PATH: the lab builds its tools with Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer; install it"
        )
    version = subprocess.run(
        [command, "env", "GOVERSION", "GOOS", "GOARCH"], check=True, capture_output=True, text=True
    ).stdout.split()
    if tuple(int(part) for part in version[0].removeprefix("go").split(".")[:2]) < OLDEST_GO:
        raise LabError(
            f"{command} is {version[0]}: the lab's tools need Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer; install that"
        )
    return command, " ".join(version)


def folder(build: Build) -> Path:
    """Return the folder of the build's commands. Its name has a hash of everything that could change them."""
    digest = hashlib.sha256()
    sources = [build.module / "go.mod", build.module / "go.sum", *sorted(build.module.rglob("*.go"))]
    for part in [go()[1], *FLAGS, repr(build.packages), repr(build.aliases), repr(build.files)]:
        digest.update(part.encode() + b"\0")
    for file in sources:
        digest.update(f"{file.relative_to(build.module)}\0".encode() + file.read_bytes())
    return paths.tools() / f"{build.name}-{digest.hexdigest()[:16]}"


def is_built(build: Build) -> bool:
    """Return True if the build's folder exists and every command in it has its full size."""
    built = folder(build)
    try:
        sizes: dict[str, int] = json.loads((built / SIZES).read_text())
        return all((built / command).stat().st_size == size for command, size in sizes.items())
    except (FileNotFoundError, ValueError):
        return False


def inspect(builds: Sequence[Build]) -> Pending:
    """Count the packages of the builds, after downloading sources that Go's cache lacks."""
    stale = list[str]()
    for module, members in _by_module(builds):
        packages = [package for build in members for package in build.packages.values()]
        with tempfile.TemporaryDirectory() as scratch:
            overlay = _overlay(module, Path(scratch))
            stale += _go(module, "list", "-deps", "-f", "{{.Stale}}", *FLAGS, *overlay, *packages).split()
    return Pending(builds, len(stale), stale.count("true"))


def make(builds: Sequence[Build], on_package: Callable[[str], None]) -> None:
    """Build all of `builds`, and call `on_package` with the name of each compiled package.

    The compiler runs once for each Go module, which keeps all processors busy.
    """
    paths.tools().mkdir(parents=True, exist_ok=True)
    for module, members in _by_module(builds):
        with tempfile.TemporaryDirectory(prefix=".building-", dir=paths.tools()) as scratch:
            for line in _compile(module, [package for b in members for package in b.packages.values()], Path(scratch)):
                on_package(line)
            for build in members:
                _complete(build, Path(scratch))


def _by_module(builds: Sequence[Build]) -> Iterator[tuple[Path, list[Build]]]:
    for module, members in groupby(sorted(builds, key=lambda build: build.module), key=lambda build: build.module):
        yield module, list(members)


def _compile(module: Path, packages: Sequence[str], into: Path) -> Iterator[str]:
    """Yield each package as it is compiled: `go build -v` prints it as a line of one word."""
    printed = list[str]()
    command = [go()[0], "build", "-v", *FLAGS, *_overlay(module, into), "-o", f"{into}/", *packages]
    with subprocess.Popen(command, cwd=module, env=_environment(), stderr=subprocess.PIPE, text=True) as compiler:
        try:
            for line in map(str.strip, compiler.stderr or ()):
                if " " in line:
                    printed.append(line)
                else:
                    yield line
        except BaseException:
            compiler.terminate()
            raise
    if compiler.returncode:
        raise LabError(f"the lab's tools did not build: {reason(printed)}")


def _overlay(module: Path, into: Path) -> list[str]:
    """Return the flag that replaces files which our packages embed by files of other modules."""
    if module != PLUGIN_MODULE:
        return []
    replaced = {str(module / file): str(_source(module, name) / path) for file, (name, path) in EMBEDDED.items()}
    overlay = into / "overlay.json"
    overlay.write_text(json.dumps({"Replace": replaced}))
    return [f"-overlay={overlay}"]


def _complete(build: Build, scratch: Path) -> None:
    """Move the build's commands into its folder under the names that the lab uses, with links and scripts."""
    with tempfile.TemporaryDirectory(prefix=f".{build.name}-", dir=paths.tools()) as holder:
        made = Path(holder) / "made"
        made.mkdir()
        for command, package in build.packages.items():
            (scratch / built_name(package)).rename(made / command)
        for alias, command in build.aliases.items():
            (made / alias).symlink_to(command)
        for command, (source, path) in build.files.items():
            shutil.copyfile(_source(build.module, source) / path, made / command)
            (made / command).chmod(0o755)
        sizes = {command: (made / command).stat().st_size for command in build.commands}
        (made / SIZES).write_text(json.dumps(sizes))
        shutil.rmtree(folder(build), ignore_errors=True)
        made.rename(folder(build))


def built_name(package: str) -> str:
    """Return the file name of a command from `go build`: the last part of its path that is not a version."""
    return [part for part in package.split("/") if not (part[0] == "v" and part[1:].isdigit())][-1]


def _source(module: Path, name: str) -> Path:
    """Return the folder of a Go module that `module` requires, after downloading it if needed."""
    return Path(json.loads(_go(module, "mod", "download", "-json", name))["Dir"])


def _go(module: Path, *arguments: str) -> str:
    done = subprocess.run(
        [go()[0], *arguments],
        cwd=module,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"the lab's tools did not build: {reason(done.stderr.splitlines())}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Return the environment for Go, without the user's GOFLAGS and GOWORK, which could change the build."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def reason(printed: Sequence[str]) -> str:
    """Return the first error line, because Go prints the cause before its consequences."""
    errors = [line for line in printed if line and not line.startswith(("go: downloading", "go: added", "#"))]
    if any("no space left on device" in line for line in errors):
        return "the disk is full; free some space and run the command again to continue"
    return errors[0] if errors else "go printed no reason; run the command again to continue"
