"""Images: when one is built, how its name changes, and which are removed."""

import hashlib
import io
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from rich.console import Console

from images.base import BaseImage, apt_sources
from images.board import Board
from images.builder import RECIPES, Images, Recipe
from images.errors import ImageError, ProgramError
from images.inputs import content_hash, copied_files
from images.store import ImageStore
from tests.lab.fakes import FakeCommands

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small repository with a Dockerfile for each image."""
    repo = tmp_path / "repo"
    for recipe in RECIPES:
        file = repo / recipe.dockerfile
        file.parent.mkdir(parents=True, exist_ok=True)
        copied = file.parent.relative_to(repo)
        file.write_text(f"ARG BASE\nFROM ${{BASE}}\nCOPY requirements.lock /\nCOPY {copied} /app\n")
    (repo / "requirements.lock").write_text("mlflow==3\n")
    (repo / "training" / "train.py").write_text("print()\n")
    (repo / ".dockerignore").write_text("*\n!requirements.lock\n!images\n!model_server\n!training\n**/__pycache__\n")
    return repo


@pytest.fixture
def commands() -> FakeCommands:
    return FakeCommands()


@pytest.fixture
def images(checkout: Path, commands: FakeCommands, tmp_path: Path) -> Images:
    (tmp_path / "versitygw").write_bytes(b"binary")
    return Images(
        checkout=checkout,
        store=ImageStore(tmp_path / "store", commands),
        commands=commands,
        board=Board(Console(file=io.StringIO())),
        logs=tmp_path / "logs",
        programs=tmp_path,
    )


def in_store(*refs: str) -> str:
    return json.dumps([{"id": ref, "names": [ref], "created": 0} for ref in refs])


def hash_of(checkout: Path) -> str:
    return content_hash(checkout / "training/Dockerfile", checkout, {"BASE": "base:1"})


def test_the_name_of_an_image_stays_while_nothing_in_it_changes(checkout: Path) -> None:
    before = hash_of(checkout)
    (checkout / "model_server" / "server.py").write_text("another room")
    (checkout / "README.md").write_text("words")
    assert hash_of(checkout) == before


@pytest.mark.parametrize("path", ["training/train.py", "training/new.py", "requirements.lock", "training/Dockerfile"])
def test_a_changed_input_gives_an_image_another_name(checkout: Path, path: str) -> None:
    before = hash_of(checkout)
    with (checkout / path).open("a") as file:
        file.write("# changed\n")
    assert hash_of(checkout) != before


def test_another_base_or_mode_gives_an_image_another_name(checkout: Path) -> None:
    before = hash_of(checkout)
    assert content_hash(checkout / "training/Dockerfile", checkout, {"BASE": "base:2"}) != before
    (checkout / "training" / "train.py").chmod(0o755)
    assert hash_of(checkout) != before


def test_what_dockerignore_keeps_out_is_no_input(checkout: Path) -> None:
    (checkout / "training" / "__pycache__").mkdir()
    (checkout / "training" / "__pycache__" / "train.pyc").write_bytes(b"")
    names = {str(file.relative_to(checkout)) for file in copied_files(checkout / "training/Dockerfile", checkout)}
    assert names == {"requirements.lock", "training/Dockerfile", "training/train.py"}


def test_files_of_another_stage_are_no_input(checkout: Path) -> None:
    dockerfile = checkout / "training" / "Dockerfile"
    dockerfile.write_text(
        "FROM a AS b\nFROM a\nCOPY --from=b /nowhere /x\nCOPY --chmod=0755 \\\n  requirements.lock /y\n"
    )
    assert copied_files(dockerfile, checkout) == [checkout / "requirements.lock"]


def test_a_copied_file_that_does_not_exist_is_named(checkout: Path) -> None:
    (checkout / "requirements.lock").unlink()
    with pytest.raises(ImageError, match=r"training/Dockerfile: COPY requirements\.lock: there is no such file"):
        hash_of(checkout)


def test_the_inputs_of_the_real_images_are_files_of_this_repository() -> None:
    for recipe in RECIPES:
        assert copied_files(ROOT / recipe.dockerfile, ROOT)


def test_a_second_build_builds_nothing(images: Images, commands: FakeCommands) -> None:
    commands.answers["images --json"] = in_store(*images.refs().values())
    images.build()
    assert not commands.with_part(" bud ")


def test_only_the_image_that_changed_is_built(images: Images, commands: FakeCommands, checkout: Path) -> None:
    commands.answers["images --json"] = in_store(*images.refs().values(), images.base.ref)
    (checkout / "training" / "train.py").write_text("print('better')\n")
    refs = images.build()
    [built] = commands.with_part(" bud ")
    assert "--file " + str(checkout / "training/Dockerfile") in built
    assert refs[RECIPES[1]] in built
    assert f"--build-arg=BASE={images.base.ref}" in built


def test_the_base_comes_first_and_from_the_machines_own_sources(images: Images, commands: FakeCommands) -> None:
    commands.answers["indextargets"] = (
        "Debian|bookworm|http://mirror.example/debian/|main\nElse|stable|http://x/|main\n"
    )
    images.build()
    steps = [line for line in commands.ran if "mmdebstrap" in line or " bud " in line]
    assert "mmdebstrap" in steps[0]
    assert "deb http://mirror.example/debian/ bookworm main" in steps[0]
    assert "http://x/" not in steps[0]
    assert images.base.ref in steps[1]
    assert len(steps) == 2 + 1 + len(RECIPES)


def test_another_release_of_debian_leaves_the_choice_of_mirror_to_mmdebstrap(commands: FakeCommands) -> None:
    commands.answers["indextargets"] = "Debian|trixie|http://mirror.example/debian/|main\n"
    assert apt_sources(commands, "bookworm") == []


def test_another_package_in_the_base_is_another_base() -> None:
    assert BaseImage(packages=("python3",)).ref != BaseImage().ref


def test_what_an_interrupted_build_left_goes_before_the_next(images: Images, commands: FakeCommands) -> None:
    left = images.store.root / "tmp" / "base-xyz"
    left.mkdir(parents=True)
    images.build()
    assert not left.exists()
    assert commands.ran.index(commands.with_part(" rm --all")[0]) < commands.ran.index(commands.with_part(" bud ")[0])


def test_a_failed_build_stops_the_others_and_is_reported(images: Images, commands: FakeCommands) -> None:
    commands.answers["training/Dockerfile"] = ProgramError("The command failed with exit code 1. Its last lines ...")
    with pytest.raises(
        ImageError,
        match=r"Building image training failed\. Correct this error and try again: The command failed with exit code 1",
    ):
        images.build()
    assert "stop" in commands.ran


def test_a_disk_too_small_is_reported_before_anything_is_built(
    images: Images, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("images.builder.GIB_FOR_A_BUILD", 1 << 40)
    with pytest.raises(ImageError, match="GiB of disk, but"):
        images.build()
    assert not commands.with_part(" bud ")


def test_only_what_the_node_lacks_is_loaded(images: Images, commands: FakeCommands) -> None:
    commands.answers["images ls"] = "lab.local/training:a\nlab.local/pause:1\n"
    images.load(["lab.local/training:a", "lab.local/serving:b"], ["ctr"])
    [load] = commands.with_part("images import")
    assert "lab.local/serving:b docker-archive:" in load


def test_pushed_images_are_named_by_their_digest(images: Images, commands: FakeCommands) -> None:
    def push(command: Sequence[str]) -> str:
        Path(command[command.index("--digestfile") + 1]).write_text("sha256:abc\n")
        return ""

    commands.answers[" push "] = push
    pushed = images.push({RECIPES[1]: "lab.local/training:123"}, "registry.example/team/")
    assert pushed == {RECIPES[1]: "registry.example/team/training@sha256:abc"}
    [line] = commands.with_part(" push ")
    assert line.endswith("lab.local/training:123 docker://registry.example/team/training:123")


def test_the_two_versions_used_last_stay(images: Images, commands: FakeCommands) -> None:
    there = [f"lab.local/training:{tag}" for tag in "abc"]
    commands.answers |= {
        "dangling": "null",
        "images --json": in_store(*there, images.base.ref),
        "images ls": "\n".join([*there, "lab.local/pause:1"]),
    }
    for ref in there:
        images.prune([ref], ["ctr"])
    assert commands.with_part(" rmi ")[-1].endswith("rmi lab.local/training:a")
    assert commands.with_part("ctr images rm")[-1] == "ctr images rm lab.local/training:a"


def test_layers_of_the_last_week_stay_for_the_next_build(images: Images, commands: FakeCommands) -> None:
    commands.answers["dangling"] = json.dumps(
        [{"id": "old", "names": None, "created": 0}, {"id": "new", "names": None, "created": time.time()}]
    )
    images.prune(["lab.local/training:a"], None)
    assert [line.split()[-1] for line in commands.with_part(" rmi ")] == ["old"]


def pip_installs(recipe: Recipe) -> list[list[str]]:
    """Return the words of each `pip install` in a Dockerfile."""
    text = (ROOT / recipe.dockerfile).read_text().replace("\\\n", " ")
    commands = [part.split() for line in text.splitlines() if line.startswith("RUN ") for part in line[4:].split("&&")]
    return [words for words in commands if "pip" in " ".join(words[:2]) and "install" in words]


PYTHON_IMAGES = [recipe for recipe in RECIPES if pip_installs(recipe)]


def lists(recipe: Recipe) -> Path:
    return (ROOT / recipe.dockerfile).with_name("requirements.lock")


def entries(file: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Return version and hashes of each package of a list without markers."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for entry in file.read_text().replace("\\\n", " ").splitlines():
        if pinned := re.match(r"([\w.-]+)==(\S+)", entry):
            found[pinned[1]] = (pinned[2], frozenset(re.findall(r"--hash=(\S+)", entry)))
    return found


def test_four_images_install_python_packages_and_two_do_not() -> None:
    assert [recipe.name for recipe in PYTHON_IMAGES] == ["mlflow", "training", "serving", "envoy"]


@pytest.mark.parametrize("recipe", PYTHON_IMAGES, ids=lambda recipe: recipe.name)
def test_an_image_installs_what_the_lock_has_and_each_file_by_its_hash(recipe: Recipe) -> None:
    own, lock = entries(lists(recipe)), (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    for name, (version, hashes) in own.items():
        (line,) = re.findall(rf"(?m)^{re.escape(name)}=={re.escape(version)} .*$", lock)
        assert hashes
        assert hashes == set(re.findall(r"--hash=(\S+)", line)), name
    wanted = {canonicalize_name(line) for line in lists(recipe).with_suffix(".in").read_text().split()}
    assert wanted <= own.keys()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package `tiny` in a folder of its own."""
    file = tmp_path_factory.mktemp("wheels") / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("tiny.py", "")
        content.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        content.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        content.writestr("tiny-1.0.dist-info/RECORD", "")
    return file


@pytest.mark.parametrize("recipe", PYTHON_IMAGES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("step", [0, 1], ids=["the installer", "the packages"])
def test_a_build_fails_if_a_file_is_not_the_one_of_the_list(
    recipe: Recipe, step: int, wheel: Path, tmp_path: Path
) -> None:
    words = pip_installs(recipe)[step]
    given = tmp_path / "list"
    words[words.index("--requirement") + 1] = str(given)
    own = [sys.executable, "-m", "pip"] if step == 0 else [str(Path(sys.executable).parent / "uv"), "pip"]
    if "--python" in words:
        words[words.index("--python") + 1] = sys.executable
    arguments = [*words[words.index("install") :], "--no-index", "--find-links", str(wheel.parent)]
    command = [*own, *arguments, "--target", str(tmp_path / "installed")]
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def install(hashes: str) -> subprocess.CompletedProcess[str]:
        given.write_text(f"tiny==1.0{hashes}\n")
        return subprocess.run(command, check=False, capture_output=True, text=True)

    for wrong in (f" --hash=sha256:{'0' * 64}", ""):
        failed = install(wrong)
        assert failed.returncode != 0, failed.stdout
        assert "hash" in failed.stderr.lower()
        assert not (tmp_path / "installed" / "tiny.py").exists()
    assert install(f" --hash=sha256:{right}").returncode == 0
    assert (tmp_path / "installed" / "tiny.py").exists()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_an_image_names_its_bases_by_digest(recipe: Recipe) -> None:
    text = (ROOT / recipe.dockerfile).read_text()
    given = dict(re.findall(r"(?m)^ARG (\w+)=(\S+)$", text))
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)$", text))
    for base in re.findall(r"(?m)^FROM (\S+)", text):
        image = given[base[2:-1]] if base.startswith("${") else base
        assert image in stages or re.fullmatch(r"\S+:\S+@sha256:[0-9a-f]{64}", image), image
