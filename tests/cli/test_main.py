"""The command line: help, completion, wrong arguments, and messages and exit codes of each kind of error."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from contract.exit_codes import MEANINGS, ExitCode
from contract.stages import Stage
from tests.command import Command

MLOPS = Path(sys.executable).with_name("mlops")
COMMANDS = [
    "train", "new-project", "notebook", "runs", "follow", "validate", "mlflow", "models", "promote", "rollback",
    "reproduce", "image", "predict", "client", "top", "dashboard", "boards", "compare", "drift", "outcomes", "preview",
    "infra-diff", "cost",
    "doctor", "comment", "release", "propose", "lab",
]  # fmt: skip
LAB_COMMANDS = ["up", "down", "status", "logs", "tools", "env", "drift"]
HEAVY = ["boto3", "httpx", "mlflow", "pandas", "pulumi", "pyarrow", "pydantic", "rich", "sklearn", "yaml"]


@pytest.fixture
def empty(tmp_path: Path) -> Mapping[str, str]:
    """Return the environment of a machine without a lab, a kubeconfig or an MLflow."""
    return {
        "HOME": str(tmp_path),
        "LAB_STATE": str(tmp_path / "state"),
        "LAB_CACHE": str(tmp_path / "cache"),
        "PATH": os.environ["PATH"],
        "COLUMNS": "120",
    }


def start(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MLOPS, *words], env=environment, capture_output=True, text=True, check=False)


def test_help_names_every_command_and_every_exit_code(mlops: Command) -> None:
    code, said = mlops("--help")
    assert code == 0
    listed = re.findall(r"^  ([a-z-]+) ", said.partition("Commands:")[2].partition("Examples:")[0], re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
    for exit_code, meaning in MEANINGS.items():
        assert f"{exit_code.value:<5}{meaning}" in said
    assert MEANINGS.keys() == set(ExitCode)


@pytest.mark.parametrize("command", [*COMMANDS[:-1], *(f"lab {name}" for name in LAB_COMMANDS)])
def test_the_help_of_a_command_shows_two_or_three_command_lines_that_can_be_typed(mlops: Command, command: str) -> None:
    code, said = mlops(*command.split(), "--help")
    shown = re.findall(rf"^ .*\bmlops {command}\b.*$", said.partition("Examples:")[2], re.MULTILINE)
    assert (code, 2 <= len(shown) <= 3) == (0, True)


def test_help_comes_without_anything_that_takes_long_to_import(tmp_path: Path) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({HEAVY})); sys.argv = ['mlops', '--help']; "
    done = subprocess.run(
        [sys.executable, "-c", code + "from cli.main import main; main()"],
        cwd=Path(__file__).parents[2], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Usage: mlops" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"), [("mlops prom", ["promote"]), ("mlops lab st", ["status"]), ("mlops train --da", ["--data"])]
)
def test_a_shell_completes_commands_and_options(empty: Mapping[str, str], typed: str, offered: list[str]) -> None:
    asked = {"_MLOPS_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    assert start({**empty, **asked}).stdout.split() == offered


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "mlops: No such command 'trian'. Did you mean 'train'? (see mlops --help)"),
        (["lab", "stauts"], "mlops: No such command 'stauts'. Did you mean 'status'? (see mlops lab --help)"),
        (["runs", "--lst", "3"], "mlops: No such option: --lst"),
        (["runs", "--last", "none"], "mlops: Invalid value for '--last'"),
        (["runs", "--last", "0"], "mlops: Invalid value for '--last'"),
        (["validate", "churn-predictor"], "mlops: VERSION is missing, because no --endpoint names a version"),
        (["train", "churn", "--data", "a.csv", "--context", "prod"], "mlops: --data trains on this machine, but --con"),
        (["cost", "--plan", ""], "mlops: --plan is empty; write a value, or leave it out for the default"),
        (["cost", "--update-prices="], "mlops: --update-prices is empty"),
        (["promote", "m", "1", "staging", "--copy-to", ""], "mlops: --copy-to is empty"),
        (["rollback", "m", "--tracking-uri="], "mlops: --tracking-uri is empty"),
        (["validate", "", "1"], "mlops: an argument is empty"),
        (["train", "churn", "--model", "mine"], "mlops: --model and --tracking-uri need --data"),
        (["train", "churn", "--data", "a.csv", "trees"], "mlops: trees does not set a parameter; write NAME=value"),
        (
            ["train", "chrn", "--data", "a.csv"],
            "mlops: there is no project chrn; projects that exist: churn, churn_boosted, churn_net, diamonds, ",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(mlops: Command, words: list[str], said: str) -> None:
    code, told = mlops(*words)
    assert (code, told.count("\n")) == (2, 1)
    assert told.startswith(said)


def test_without_a_command_the_help_is_shown_and_nothing_succeeds(empty: Mapping[str, str]) -> None:
    done = start(empty)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Commands:" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs"], "no cluster is known: this machine has no lab, and neither --context nor KUBECONFIG"),
        (["train", "churn"], "write --context NAME, or start the lab with `mlops lab up`"),
        (["predict", "churn-predictor", "rows.csv"], "no cluster is known"),
        (["models"], "start it with: lab up; or write --tracking-uri URI"),
        (["rollback", "churn-predictor"], "start it with: lab up; or write --tracking-uri URI"),
    ],
)
def test_without_a_lab_a_command_says_what_to_write(empty: Mapping[str, str], words: list[str], said: str) -> None:
    done = start(empty, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr


def test_a_cluster_that_cannot_be_reached_is_one_line(empty: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(
        '{"apiVersion": "v1", "kind": "Config", "current-context": "gone",'
        ' "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": ""}}],'
        ' "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:9"}}]}'
    )
    done = start({**empty, "KUBECONFIG": str(tmp_path / "kubeconfig")}, "runs")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "127.0.0.1:9 was refused" in done.stderr


def test_ctrl_c_is_one_line_and_exit_code_130(empty: Mapping[str, str], tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\necho asked > {tmp_path / 'asked'}\nexec sleep 600\n")
    kubectl.chmod(0o755)
    os.mkfifo(tmp_path / "asked")
    path = f"{tmp_path}{os.pathsep}{empty['PATH']}"
    with subprocess.Popen(
        [MLOPS, "runs"], env={**empty, "PATH": path, "KUBECONFIG": "any"}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as started:  # fmt: skip
        assert (tmp_path / "asked").read_text() == "asked\n"
        os.killpg(started.pid, signal.SIGINT)
        assert started.stderr
        assert started.stderr.read() == "mlops: interrupted\n"
    assert started.returncode == 130


def test_a_reader_that_leaves_changes_neither_the_end_nor_the_code(empty: Mapping[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as output:
        ended = subprocess.run(
            [MLOPS, "--help"], env=empty, stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "code"), [("--help >&-", 0), ("lab status >&-", 0), ("trian 2>&-", 2), ("cost --plan - <&-", 2)]
)
def test_a_closed_stream_is_no_defect(empty: Mapping[str, str], typed: str, code: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{MLOPS} {typed}"], env=empty, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_lab_is_short_for_mlops_lab(empty: Mapping[str, str]) -> None:
    short = subprocess.run([MLOPS.with_name("lab"), "status"], env=empty, capture_output=True, text=True, check=False)
    assert (short.returncode, short.stdout) == (0, start(empty, "lab", "status").stdout)


def test_stages_are_those_of_the_registry(mlops: Command) -> None:
    code, said = mlops("promote", "churn", "1", "nowhere")
    assert code == 2
    assert re.findall(r"'(\w+)'", said.partition("is not one of")[2]) == list(Stage)
