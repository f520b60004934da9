"""Imports between the packages, and text that no file may contain."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.config.stack import KINDS
from infra.foundations.kinds import MODULES

ROOT = Path(__file__).parent.parent
ROOMS = (
    "contract",
    "onnx_estimators",
    "infra",
    "components",
    "runs",
    "client",
    "training",
    "model_server",
    "model_preview",
    "cost",
    "change_report",
    "doctor",
    "prediction_log",
    "experiments",
    "monitoring",
    "drift",
    "pull_requests",
    "images",
    "lab",
    "cli",
    "bootstrap",
)
MAY_IMPORT = {
    "contract": set[str](),
    "infra": {"contract", "components", "model_preview", "monitoring"},
    "components": {"contract"},
    "runs": {"contract"},
    "client": {"contract", "runs"},
    "onnx_estimators": set[str](),
    "training": {"contract", "onnx_estimators"},
    "model_server": {"contract"},
    "model_preview": {"contract"},
    "change_report": {"cost", "model_preview", "runs"},
    "cost": {"contract"},
    "doctor": {"contract", "components", "infra", "runs"},
    "prediction_log": {"contract"},
    "experiments": {"contract", "prediction_log"},
    "drift": {"contract", "prediction_log", "training"},
    "pull_requests": {"contract", "model_preview"},
    "monitoring": {"contract"},
    "images": set[str](),
    "lab": {"contract", "components", "images", "runs"},
    "bootstrap": {"components", "infra"},
    "cli": {
        "change_report",
        "contract",
        "runs",
        "client",
        "cost",
        "doctor",
        "experiments",
        "drift",
        "images",
        "model_preview",
        "prediction_log",
        "monitoring",
        "pull_requests",
        "training",
        "lab",
    },
}
"""Packages that each package may import."""


def tracked(*patterns: str) -> list[Path]:
    """Return the repository's files; a pattern that matches no file is an error."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--error-unmatch", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def imports(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    others = set(ROOMS) - {room}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in tracked(f"{room}/*.py")
        for name in imports(path)
        if name.split(".")[0] in others - MAY_IMPORT[room]
    }
    assert not wrong


@pytest.mark.parametrize("room", ["contract", "drift", "prediction_log", "training", "model_server"])
def test_what_runs_in_a_container_knows_nothing_of_pulumi(room: str) -> None:
    wrong = {str(p.relative_to(ROOT)) for p in tracked(f"{room}/*.py") for n in imports(p) if n.startswith("pulumi")}
    assert not wrong


def test_commands_that_need_a_cluster_an_endpoint_or_github_need_neither_pulumi_nor_mlflow() -> None:
    without = (
        "import sys; sys.modules.update(dict.fromkeys(['boto3', 'mlflow', 'pandas', 'pulumi', 'pulumi_kubernetes']))"
    )
    subprocess.run(
        [sys.executable, "-c", f"{without}; import cli.jobs, cli.main, cli.predictions, cli.comment, cli.proposal"],
        cwd=ROOT,
        check=True,
    )


def test_a_price_is_estimated_from_text_without_pulumi_and_without_aws() -> None:
    absent = ["pulumi", "pulumi_aws", "pulumi_kubernetes", "boto3", "botocore"]
    without = f"import sys; sys.modules.update(dict.fromkeys({absent})); import cli.stack_cost, cost.report"
    subprocess.run([sys.executable, "-c", without], cwd=ROOT, check=True)


def test_a_preview_of_a_model_needs_neither_pulumi_nor_mlflow() -> None:
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


def test_a_stack_imports_the_sdk_of_its_own_kind_alone_and_no_client_of_boards_databases_or_mlflow() -> None:
    assert MODULES.keys() == KINDS.keys()
    absent = "{'pulumi_aws', 'grafana_foundation_sdk', 'sqlalchemy', 'psycopg2', 'httpx', 'mlflow'}"
    local = f"import sys, infra.program, {MODULES['local']}; assert not {absent} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", local], cwd=ROOT, check=True)


def test_only_settings_read_configuration_and_environment() -> None:
    reads = re.compile(r"pulumi\.Config\b|os\.environ|os\.getenv")
    wrong = {
        str(path.relative_to(ROOT))
        for room in (
            "bootstrap",
            "infra",
            "components",
            "contract",
            "drift",
            "prediction_log",
            "training",
            "model_server",
        )
        for path in tracked(f"{room}/*.py")
        if path.name not in {"settings.py", "stack.py"} and reads.search(path.read_text())
    }
    assert not wrong


OF_MORE_THAN_ONE_MODULE = {
    "components/local/test_stores.py": "both stores by the same tests",
    "components/test_bodies.py": "every component",
    "components/test_contract.py": "what components tell images, and what images read",
    "cost/test_command.py": "the command line",
    "cost/test_stacks.py": "the tracked stacks",
    "doctor/aws/test_cases.py": "every check of an account",
    "doctor/test_command.py": "the command line",
    "infra/test_main.py": "the program as the engine starts it",
    "model_server/flavours/test_flavours.py": "every flavour beside mlflow models serve",
    "model_server/predict/fast/test_pipelines.py": "random models against MLflow",
    "model_server/predict/test_odd_models.py": "models of many kinds",
    "onnx_estimators/test_estimators.py": "both estimators by the same tests",
    "model_server/test_attacks.py": "the server as a process, under attack",
    "model_server/test_hostile.py": "the server as a process",
    "model_preview/test_command.py": "the command line",
    "model_preview/test_hostile.py": "a registry that is made to stop the preview",
    "model_preview/test_unreachable.py": "MLflow that fails in every way",
    "model_preview/test_views.py": "all three views",
    "runs/test_list.py": "a command over the whole room",
    "runs/test_rights.py": "rights that the commands need",
    "runs/test_train.py": "a command over the whole room",
    "runs/test_validate.py": "a command over the whole room",
    "training/test_guide.py": "the example in the guide",
    "training/test_images.py": "what an image must have",
    "training/test_scripts.py": "a team's own script, from the stack file to a served prediction",
    "training/test_tasks.py": "an example of each task, from the table to a served prediction",
    "training/test_killed.py": "runs as processes",
}


def test_a_test_file_lies_where_its_module_lies() -> None:
    files = {path.relative_to(ROOT / "tests") for path in tracked("tests/**/test_*.py")}
    of_a_module = {
        path for path in files if path.parts[0] not in {"e2e", "engine", "workflows", "test_architecture.py"}
    }
    lost = {str(path) for path in of_a_module if not (ROOT / path.with_name(path.name.removeprefix("test_"))).is_file()}
    assert lost == OF_MORE_THAN_ONE_MODULE.keys()


def test_no_module_hides_one_of_the_standard_library() -> None:
    """Pulumi puts the folder of the program, and that of the policy pack, first on the path of modules."""
    modules = tracked("bootstrap/*.py", "infra/*.py", "components/*.py", "policy/*.py")
    names = {part for path in modules for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not names & sys.stdlib_module_names


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


def test_a_notebook_is_committed_without_outputs() -> None:
    wrong = {
        f"{path.relative_to(ROOT)} has outputs: run jupyter nbconvert --clear-output --inplace on it"
        for path in tracked("*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
        if cell.get("outputs") or cell.get("execution_count")
    }
    assert not wrong
