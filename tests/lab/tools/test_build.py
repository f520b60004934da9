"""Builds: inputs that change the folder, files of a build, and error messages."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from lab import paths
from lab.errors import LabError
from lab.tools import build
from lab.tools.catalog import BUILDS, EMBEDDED, Build

MAIN = """package main

import (
	"os"

	"example.invalid/hello/words"
)

func main() { os.Stdout.WriteString(words.Hello) }
"""
WORDS = "package words\n\nvar Hello = {}\n"


def hello(folder: Path) -> Build:
    return Build(name="hello", module=folder, packages={"greet": "./cmd"}, aliases={"welcome": "greet"})


@pytest.fixture(autouse=True)
def fresh_go() -> Iterator[None]:
    """Clear the cached Go command, because another test may have set PATH."""
    build.go.cache_clear()
    yield
    build.go.cache_clear()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "source"
    (folder / "cmd").mkdir(parents=True)
    (folder / "go.mod").write_text("module example.invalid/hello\n\ngo 1.26\n")
    (folder / "go.sum").write_text("")
    (folder / "cmd" / "main.go").write_text(MAIN)
    (folder / "words").mkdir()
    (folder / "words" / "words.go").write_text(WORDS.format('"hello"'))
    return hello(folder)


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "cmd/main.go"])
def test_a_changed_source_is_built_into_another_folder(module: Build, name: str) -> None:
    before = build.folder(module)
    (module.module / name).write_text((module.module / name).read_text() + "\n")
    assert build.folder(module) != before


def test_other_flags_or_another_go_are_built_into_another_folder(
    module: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {build.folder(module), build.folder(replace(module, packages={"greet": "./other"}))}
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-tags=more"))
    flagged = build.folder(module)
    monkeypatch.setattr(build, "go", cache(lambda: ("go", "go1.99.0 linux amd64")))
    assert len({*before, flagged, build.folder(module)}) == 4


def test_a_second_clone_finds_the_same_folder(module: Build, tmp_path: Path) -> None:
    shutil.copytree(module.module, tmp_path / "clone")
    assert build.folder(hello(tmp_path / "clone")) == build.folder(module)


def test_every_command_works_and_every_package_was_reported(module: Build, tmp_path: Path) -> None:
    told = list[str]()
    (module.module / "words" / "words.go").write_text(WORDS.format(f'"hello {tmp_path}"'))
    build.make([module], told.append)
    for command in module.commands:
        greeting = subprocess.run([build.folder(module) / command], capture_output=True, text=True, check=True).stdout
        assert greeting == f"hello {tmp_path}"
    assert {"example.invalid/hello/cmd", "example.invalid/hello/words"} <= set(told)


def test_a_truncated_command_is_built_again(module: Build) -> None:
    build.make([module], lambda _: None)
    command = build.folder(module) / "greet"
    assert build.is_built(module)
    command.write_bytes(command.read_bytes()[:1000])
    assert not build.is_built(module)
    build.make([module], lambda _: None)
    assert build.is_built(module)
    subprocess.run([command], check=True)


def test_what_is_counted_before_a_build_is_what_is_compiled(module: Build) -> None:
    # Its own text, so that Go's cache cannot have it from an earlier run; what is linked counts every time.
    (module.module / "words" / "words.go").write_text(WORDS.format(f'"{module.module}"'))
    before = build.inspect([module])
    build.make([module], lambda _: None)
    assert (before.stale, build.inspect([module]).stale) == (2, 1)
    assert before.packages > before.stale


def test_an_interrupted_build_leaves_no_folder_and_the_next_one_completes(module: Build) -> None:
    (module.module / "words" / "words.go").write_text(WORDS.format(f'"{module.module} interrupted"'))

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.make([module], interrupt)
    assert not list(paths.tools().iterdir())
    build.make([module], lambda _: None)
    assert build.is_built(module)


def test_a_failed_build_says_where_in_one_line(module: Build) -> None:
    (module.module / "words" / "words.go").write_text(WORDS.format("1"))
    with pytest.raises(LabError, match=r"did not build: cmd/main.go:9:\d+: cannot use words.Hello .*$"):
        build.make([module], lambda _: None)
    assert not list(paths.tools().iterdir())


def test_a_full_disk_is_reported_as_such() -> None:
    said = ["# k8s.io/api/core/v1", "go build k8s.io/api/core/v1: write /tmp/x: no space left on device"]
    assert "the disk is full" in build.reason(said)


def test_without_go_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"go is not on PATH: .* Go 1\.26 or newer; install it"):
        build.go()


def test_an_old_go_is_refused_with_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "go"
    fake.write_text("#!/bin/sh\necho go1.22.1; echo linux; echo amd64\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(LabError, match=r"is go1\.22\.1: the lab's tools need Go 1\.26"):
        build.go()


def test_no_two_commands_of_one_compiler_run_have_the_same_file_name() -> None:
    packages = [package for each in BUILDS for package in each.packages.values()]
    names = [build.built_name(package) for package in packages]
    assert len(set(names)) == len(names)


def test_our_own_packages_are_where_the_catalog_says() -> None:
    own = [each.module / package for each in BUILDS for package in each.packages.values() if package.startswith("./")]
    assert {path.name for path in own if (path / "main.go").exists()} == {path.name for path in own}
    embedding = {file.split("/")[0] for file in EMBEDDED}
    assert embedding <= {path.name for path in own}
