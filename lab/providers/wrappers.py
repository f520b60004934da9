"""Puts stand-ins where the engine looks for plugins."""

import shlex
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

REAL: Final = {"kubernetes": "lab.providers.kubernetes"}
RECORDING: Final = {name: f"lab.providers.recording {name}" for name in ("aws", "kubernetes")}
MARK: Final = "stand-in for the official plugin (lab/providers)"


def install(plugins: Path, python: Path) -> list[Path]:
    """The engine with this folder of plugins ($PULUMI_HOME/plugins) has a `kubernetes` one; `python` has this package.

    An official plugin that lies there already stays.
    """
    return _install(plugins, python, REAL)


def install_recording(plugins: Path, python: Path) -> list[Path]:
    """Stand-ins for `aws` and `kubernetes` that record what they are asked and touch nothing."""
    return _install(plugins, python, RECORDING)


def plugin_folder(plugins: Path, package: str) -> Path:
    """Where the engine looks for the version that the installed SDK asks for.

    A plugin on PATH would be found too, but the engine warns of that in each run.
    """
    return plugins / f"resource-{package}-v{version(f'pulumi-{package}')}"


def executable(plugins: Path, package: str) -> Path:
    """The plugin itself, there or not."""
    return plugin_folder(plugins, package) / f"pulumi-resource-{package}"


def is_stand_in(plugin: Path) -> bool:
    """Whether `plugin` was written here."""
    with plugin.open("rb") as file:
        return MARK.encode() in file.read(200)


def _install(plugins: Path, python: Path, modules: Mapping[str, str]) -> list[Path]:
    written: list[Path] = []
    for package, module in modules.items():
        script = executable(plugins, package)
        text = f'#!/bin/sh\n# A {MARK}.\nexec {shlex.quote(str(python))} -P -m {module} "$@"\n'
        if not script.is_file() or (is_stand_in(script) and script.read_text() != text):
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(text)
            script.chmod(0o755)
        written.append(script)
    return written
