"""Who may import whom (design of the house), and what no file may hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.foundation import MODULES
from infra.settings import KINDS

ROOT = Path(__file__).parent.parent
ROOMS = ("infra", "components", "runs", "client", "training", "serving", "model_preview", "lab")
MAY_IMPORT = {
    "infra": {"components"},
    "components": set[str](),
    "runs": {"components"},
    "client": {"components", "runs"},
    "training": set[str](),
    "serving": set[str](),
    # Its names of tags and stages (training/stages.py) are a contract; a test below holds it to that file.
    "model_preview": {"training"},
    "lab": {"components", "runs"},
}
STDLIB_NAMES_A_USER_WOULD_MISS = ("platform", "types", "secrets")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def imports(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in the file."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    others = set(ROOMS) - {room} - MAY_IMPORT[room]
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in tracked(f"{room}/*.py")
        for name in imports(path)
        if name.split(".")[0] in others
    }
    assert not wrong


@pytest.mark.parametrize("room", ["training", "serving"])
def test_what_runs_in_a_container_knows_nothing_of_pulumi(room: str) -> None:
    wrong = {str(p.relative_to(ROOT)) for p in tracked(f"{room}/*.py") for n in imports(p) if n.startswith("pulumi")}
    assert not wrong


@pytest.mark.parametrize("room", ["runs", "client"])
def test_what_a_person_runs_beside_a_cluster_needs_no_pulumi(room: str) -> None:
    known = {name for path in tracked(f"{room}/*.py") for name in imports(path) if name.split(".")[0] == "components"}
    assert known == {"components"}
    without = f"import sys; sys.modules['pulumi'] = sys.modules['pulumi_kubernetes'] = None; import {room}.cli"
    subprocess.run([sys.executable, "-c", without], cwd=ROOT, check=True)


def test_a_preview_of_a_model_needs_neither_pulumi_nor_mlflow() -> None:
    known = {
        name for path in tracked("model_preview/*.py") for name in imports(path) if name.split(".")[0] == "training"
    }
    assert known == {"training.stages"}
    without = "import sys; sys.modules['pulumi'] = sys.modules['mlflow'] = None; import model_preview.__main__"
    subprocess.run([sys.executable, "-c", without], cwd=ROOT, check=True)


def test_only_the_aws_components_know_aws() -> None:
    wrong = {
        str(path.relative_to(ROOT))
        for path in tracked("components/*.py", "infra/*.py")
        if "components/aws/" not in str(path)
        for name in imports(path)
        if name.startswith("pulumi_aws")
    }
    assert not wrong


def test_a_stack_imports_the_sdk_of_its_own_kind_alone() -> None:
    assert MODULES.keys() == KINDS.keys()
    local = f"import sys, infra.program, {MODULES['local']}; assert 'pulumi_aws' not in sys.modules"
    subprocess.run([sys.executable, "-c", local], cwd=ROOT, check=True)


def test_only_settings_read_configuration_and_environment() -> None:
    reads = re.compile(r"pulumi\.Config\b|os\.environ|os\.getenv")
    wrong = {
        str(path.relative_to(ROOT))
        for room in ("infra", "components", "training", "serving")
        for path in tracked(f"{room}/*.py")
        if path.name != "settings.py" and reads.search(path.read_text())
    }
    assert not wrong


def test_no_module_hides_one_of_the_standard_library() -> None:
    assert not [p for p in tracked("infra/*.py", "components/*.py") if p.stem in STDLIB_NAMES_A_USER_WOULD_MISS]


def test_no_file_silences_a_checker() -> None:
    silenced = re.compile(
        "#\\s*(" + "|".join(["no" + "qa", "type:\\s*ig" + "nore", "pyright:", "ruff:", "pragma:"]) + ")"
    )
    wrong = [str(p.relative_to(ROOT)) for p in tracked("*.py") if silenced.search(p.read_text())]
    assert not wrong


def test_no_file_holds_a_path_of_a_machine_or_a_registry_host() -> None:
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "proxy.go" + "lang.org",
        "registry.npm" + "js.org",
        "deb.deb" + "ian.org",
    ]
    private = re.compile(
        "|".join([*map(re.escape, hosts), r"(?<![\w}])/ro" + "ot/", "/ho" + "me/[a-z]", r"(?<![\w.])/wo" + "rk/"])
    )
    wrong = {
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in tracked()
        if path.suffix not in {".png", ".sum"} and (found := private.search(path.read_text(errors="ignore")))
    }
    assert not wrong
