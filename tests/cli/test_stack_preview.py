"""`mlops preview`, with a fake `pulumi`, a real git repository, and a server in MLflow's place."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import run
from contract.exit_codes import ExitCode
from tests.change_report.examples import (
    DEPLOYMENT,
    diagnostic,
    document,
    good,
    serves,
    step,
    unvalidated,
)
from tests.command import Command
from tests.model_preview.server import says, server

STACK_FILE = "Pulumi.prod.yaml"
SERVED = {"mlops:endpoints": {"churn-predictor": {"version": 7}}}
BUMPED = {"mlops:endpoints": {"churn-predictor": {"version": 8}}}
PROTECTED = {"mlops:foundation": {"kind": "aws"}}
RELEASE = step(
    "update", DEPLOYMENT, "churn-predictor", old=serves("churn-predictor", 7), new=serves("churn-predictor", 8)
)


class Checkout:
    """A git repository with a Pulumi project; `main` is its base."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "Pulumi.yaml").write_text("name: mlops\nruntime: python\n")
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("commit", "--quiet", "--allow-empty", "--message", "empty")
        self.git("tag", "empty")
        self.write(SERVED)
        self.commit()

    def git(self, *words: str) -> None:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        subprocess.run(["git", *who, *words], cwd=self.folder, check=True, capture_output=True)

    def write(self, config: Mapping[str, Any], name: str = STACK_FILE) -> None:
        (self.folder / name).write_text(yaml.safe_dump({"config": config}))

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "stack")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path / "checkout")
    monkeypatch.chdir(made.folder)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return made


def prints(pulumi: Path, *steps: Any, models: tuple[Any, ...] = (), code: int = 0, said: str = "", **more: Any) -> None:
    """Let the fake engine print these steps, and its program write these previews of models."""
    (pulumi / "preview").write_text(json.dumps(document(*steps, **more)))
    (pulumi / "models").write_text(json.dumps({"previews": [each.model_dump(mode="json") for each in models]}))
    (pulumi / "code").write_text(str(code))
    (pulumi / "said").write_text(said)


def test_a_change_that_passes_is_shown_with_the_keys_that_differ_from_the_base(
    checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    checkout.write(BUMPED)
    prints(pulumi, RELEASE, models=(good(),))
    code, said = mlops("preview", "--stack", "prod", "--base", "main")
    assert code == ExitCode.DONE
    assert said.startswith("prod passes: 1 release, 1 updated\n")
    assert "Stack file: 1 changed key against main\n  mlops:endpoints.churn-predictor.version: 7 → 8\n" in said
    assert "deployed" not in said
    assert "mlops: previewing prod\n" in said
    asked = (pulumi / "asked").read_text().split()
    assert {"preview", "--json", "--show-sames", "--event-log", "--non-interactive"} <= set(asked)
    assert asked[-2:] == ["--stack", "prod"]


@pytest.mark.parametrize("view", [(), ("--json",), ("--markdown",), ("--out", "report.md")])
def test_a_refused_model_is_exit_code_3_in_every_view(
    view: tuple[str, ...], checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    prints(pulumi, RELEASE, models=(unvalidated(),))
    code, said = mlops("preview", "--stack", "prod", *view)
    assert code == ExitCode.REFUSED
    assert "prod is refused: churn-predictor: version 7 -> 8 is refused" in " ".join(said.replace("&#62;", ">").split())
    assert (checkout.folder / "report.md").exists() == (view[:1] == ("--out",))


def test_json_on_stdout_is_nothing_but_json(
    checkout: Checkout, pulumi: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prints(pulumi, RELEASE, models=(unvalidated(),))
    assert run(["preview", "--stack", "prod", "--json"]) == ExitCode.REFUSED
    told = capfd.readouterr()
    assert json.loads(told.out)["outcome"] == "refused"
    assert told.err.splitlines()[-1].startswith("mlops: prod is refused: ")
    assert checkout.folder.exists()


def test_a_report_in_a_file_is_the_comment_and_the_terminal_shows_it_too(
    checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    prints(pulumi, RELEASE, models=(good(),))
    code, said = mlops("preview", "--stack", "prod", "--out", "report.md")
    assert (code, said.splitlines()[-1].startswith("mlops: previewed")) == (0, True)
    assert (checkout.folder / "report.md").read_text().startswith("## ✅ prod passes")
    assert said.startswith("prod passes")
    assert mlops("preview", "--stack", "prod", "--out", "report.json", "--json")[0] == ExitCode.DONE
    assert json.loads((checkout.folder / "report.json").read_text())["stack"] == "prod"
    assert sorted(each.name for each in checkout.folder.iterdir() if "report" in each.name) == [
        "report.json",
        "report.md",
    ]


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(
    checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    folder = checkout.folder / "reports"
    folder.mkdir()
    prints(pulumi)
    program = (pulumi / "pulumi").read_text()
    (pulumi / "pulumi").write_text(program.replace("cd ", f"rmdir {folder}; cd ", 1))
    code, said = mlops("preview", "--stack", "prod", "--out", "reports/report.md")
    assert (code, said.splitlines()[-1]) == (
        ExitCode.BAD_INPUT,
        "mlops: --out reports/report.md cannot be written (No such file or directory); write another file",
    )
    assert {each.name for each in checkout.folder.iterdir()} == {".git", "Pulumi.yaml", STACK_FILE}


def test_a_preview_that_fails_ends_with_1_and_the_engines_words(
    checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    prints(pulumi, code=255, diagnostics=[diagnostic("error", "no credentials\nlook there")])
    assert mlops("preview", "--stack", "prod") == (
        ExitCode.FAILED,
        "mlops: previewing prod\nmlops: previewed 0 resources in 0 s\nmlops: no credentials\nlook there\n",
    )
    code, said = mlops("preview", "--stack", "prod", "--out", "report.md")
    assert (code, said.splitlines()[0]) == (ExitCode.FAILED, "prod could not be previewed: no credentials")
    assert (checkout.folder / "report.md").read_text().startswith("## ❓ prod could not be previewed: no credentials")


@pytest.mark.parametrize("output", ["", "killed", "[]", "{"])
def test_an_engine_that_prints_no_document_is_reported_in_its_words(
    output: str, checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    prints(pulumi, code=1, said="error: the state is locked\n")
    (pulumi / "preview").write_text(output)
    code, said = mlops("preview", "--stack", "prod", "--markdown")
    assert code == ExitCode.FAILED
    assert "## ❓ prod could not be previewed: the state is locked" in said
    assert checkout.folder.exists()


def test_a_machine_without_the_engine_says_so(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mlops: Command
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("LAB_CACHE", str(tmp_path))
    code, said = mlops("preview", "--stack", "prod", "--base", "main")
    assert (code, said.splitlines()[-1]) == (
        ExitCode.FAILED, "mlops: pulumi is not on PATH, but the report needs its preview; install pulumi",
    )  # fmt: skip
    assert checkout.folder.exists()


def test_a_stack_that_pulumi_does_not_know_is_bad_input(checkout: Checkout, pulumi: Path, mlops: Command) -> None:
    prints(pulumi, code=6, said="error: no stack named 'prodd' found\n")
    (pulumi / "preview").write_text("")
    code, said = mlops("preview", "--stack", "prodd", "--out", "report.md")
    assert (code, said.splitlines()[-1]) == (
        ExitCode.BAD_INPUT, "mlops: Pulumi has no stack prodd; `pulumi stack ls` lists those that exist",
    )  # fmt: skip
    assert not (checkout.folder / "report.md").exists()


def test_without_a_stack_the_selected_one_is_previewed(checkout: Checkout, pulumi: Path, mlops: Command) -> None:
    checkout.write(BUMPED)
    prints(pulumi, RELEASE, models=(good(),))
    plain = (pulumi / "pulumi").read_text()
    (pulumi / "pulumi").write_text(plain.replace("cd ", '[ "$1" != stack ] || { echo acme/mlops/prod; exit; }; cd ', 1))
    code, said = mlops("preview", "--base", "main")
    assert (code, said.splitlines()[0]) == (ExitCode.DONE, "acme/mlops/prod passes: 1 release, 1 updated")
    assert "version: 7 → 8" in said


def test_without_a_selected_stack_the_command_says_what_to_write(
    checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    prints(pulumi, code=1, said="error: no stack selected; please use `pulumi stack select`\n")
    code, said = mlops("preview")
    assert code == ExitCode.BAD_INPUT
    assert said.startswith("mlops: no stack is selected (no stack selected;")
    assert said.endswith("write --stack NAME, or run `pulumi stack select NAME`\n")
    assert checkout.folder.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--base", "nowhere"],
            "git has no commit nowhere; run `git fetch origin nowhere` first, or write another --base",
        ),
        (["--base", "origin/dev"], "git has no commit origin/dev; run `git fetch origin dev` first"),
        (["--base", "--help"], "git has no commit --help"),
        (["--base", "empty"], f"empty has no {STACK_FILE}; for a stack that is new, leave --base out"),
        (["--base", "main", "--stack", "staging"], "there is no Pulumi.staging.yaml in "),
        (["--json", "--markdown"], "--json and --markdown are two forms of one report; write one of the two"),
        (["--models-only"], "--models-only compares two stack files; write --base REF, such as --base origin/main"),
        (["--out", "missing/report.md"], "--out missing/report.md: the folder missing does not exist"),
        (["--out", "r" * 300], f"--out {'r' * 300} cannot be written (File name too long); write another file"),
        (["--out", "."], "--out . is not a file; write the name of one"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_runs_nothing(
    words: list[str], said: str, checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    stack = [] if "--stack" in words else ["--stack", "prod"]
    code, told = mlops("preview", *stack, *words)
    assert (code, told.count("\n")) == (ExitCode.BAD_INPUT, 1)
    assert told.startswith(f"mlops: {said}")
    assert not (pulumi / "asked").exists()
    assert checkout.folder.exists()


def test_models_only_needs_the_name_of_the_stack(checkout: Checkout, mlops: Command) -> None:
    code, said = mlops("preview", "--models-only", "--base", "main")
    assert (code, "write --stack NAME" in said) == (ExitCode.BAD_INPUT, True)
    assert checkout.folder.exists()


def test_a_folder_without_a_project_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlops: Command) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = mlops("preview", "--stack", "prod")
    assert (code, said) == (
        ExitCode.BAD_INPUT,
        f"mlops: {tmp_path} is not in a Pulumi project, which has a Pulumi.yaml; run the command in a checkout\n",
    )


def test_the_base_is_found_from_a_folder_below_the_project_and_for_a_project_below_the_repository(
    checkout: Checkout, pulumi: Path, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = checkout.folder / "bootstrap"
    inner.mkdir()
    (inner / "Pulumi.yaml").write_text("name: inner\nruntime: python\n")
    checkout.write({"a": 1}, "bootstrap/Pulumi.prod.yaml")
    checkout.commit()
    checkout.write({"a": 2}, "bootstrap/Pulumi.prod.yaml")
    (inner / "below").mkdir()
    monkeypatch.chdir(inner / "below")
    prints(pulumi)
    code, said = mlops("preview", "--stack", "prod", "--base", "main")
    assert (code, "  a: 1 → 2\n" in said) == (ExitCode.DONE, True)


@pytest.mark.parametrize("text", ["config: [", "just text"])
def test_a_stack_file_that_cannot_be_read_is_named_with_its_side(
    text: str, checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    (checkout.folder / STACK_FILE).write_text(text)
    code, said = mlops("preview", "--stack", "prod", "--base", "main")
    assert (code, said.startswith(f"mlops: {STACK_FILE} "), said.count("\n")) == (ExitCode.BAD_INPUT, True, 1)
    checkout.commit()
    checkout.write(SERVED)
    code, said = mlops("preview", "--stack", "prod", "--base", "main")
    assert (code, said.startswith(f"mlops: main:{STACK_FILE} ")) == (ExitCode.BAD_INPUT, True)
    assert not (pulumi / "asked").exists()


def test_a_policy_pack_of_the_project_is_used(checkout: Checkout, pulumi: Path, mlops: Command) -> None:
    prints(pulumi)
    mlops("preview", "--stack", "prod")
    assert "--policy-pack" not in (pulumi / "asked").read_text()
    pack = checkout.folder / "policy"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text("runtime: python\n")
    assert mlops("preview", "--stack", "prod")[0] == ExitCode.DONE
    assert f"--policy-pack {pack} " in (pulumi / "asked").read_text()


def test_a_pack_that_cannot_run_here_is_a_warning(
    checkout: Checkout, pulumi: Path, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    prints(pulumi)
    (checkout.folder / "policy").mkdir()
    (checkout.folder / "policy" / "PulumiPolicy.yaml").write_text("runtime: python\n")
    monkeypatch.setitem(sys.modules, "pulumi_policy", None)
    code, said = mlops("preview", "--stack", "prod")
    assert (code, said.splitlines()[0]) == (ExitCode.DONE, "prod passes, with 1 warning: nothing changes")
    assert "the policy pack policy did not run; install it with `pip install pulumi-policy`" in " ".join(said.split())
    assert "--policy-pack" not in (pulumi / "asked").read_text()


@pytest.mark.parametrize("models", ["{", '{"previews": [{}]}', ""])
def test_a_release_without_a_readable_report_about_it_is_not_taken_for_good(
    models: str, checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    prints(pulumi, RELEASE)
    (pulumi / "models").write_text(models)
    code, said = mlops("preview", "--stack", "prod")
    assert (code, said.startswith("prod could not be verified: churn-predictor: the preview changes")) == (1, True)
    assert "what the program wrote about models cannot be read" in " ".join(said.split())
    assert checkout.folder.exists()


def models_only(mlops: Command, uri: str | None = None) -> tuple[int, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        if uri:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
        code, said = mlops("preview", "--stack", "prod", "--base", "main", "--models-only", "--json")
    return code, json.loads(said[: said.rindex("}") + 1])


def test_models_only_runs_no_engine_and_sends_no_request_without_a_release(
    checkout: Checkout, pulumi: Path, mlops: Command
) -> None:
    checkout.write({**SERVED, "mlops:tracking": {"replicas": 2}})
    code, told = models_only(mlops)
    assert (code, told["line"], told["previews"]) == (ExitCode.DONE, "prod passes: no version changes", [])
    assert told["base"]["keys"] == [{"path": "mlops:tracking", "old": None, "new": '{"replicas": 2}'}]
    assert not (pulumi / "asked").exists()


@pytest.mark.parametrize("gate", [{}, PROTECTED])
@pytest.mark.parametrize(
    ("status", "why"), [(None, "MLFLOW_TRACKING_URI is not set"), (500, "500"), (403, "403"), (429, "429")]
)
def test_an_mlflow_that_does_not_help_leaves_the_release_unverified(
    gate: dict[str, Any], status: int | None, why: str, checkout: Checkout, mlops: Command
) -> None:
    checkout.write({**BUMPED, **gate})
    if status is None:
        found = models_only(mlops)
    else:
        with server(says(status, "no")) as uri:
            found = models_only(mlops, uri)
    assert found[0] == (ExitCode.FAILED if gate else ExitCode.DONE)
    (preview,) = found[1]["previews"]
    assert preview["verdict"]["kind"] == "unverified"
    assert why in preview["verdict"]["line"]


def registry(request: BaseHTTPRequestHandler) -> None:
    """Answer as an MLflow whose versions have no run, and passed their validation against the version before."""
    path, _, query = request.path.partition("?")
    number = int(dict(each.split("=") for each in query.split("&")).get("version", 0))
    tags = [{"key": "validation_status", "value": "passed"}, {"key": "validated_against", "value": str(number - 1)}]
    answer: dict[str, Any] = {"registered_model": {"name": "churn-predictor"}}
    if "model-versions" in path:
        version = {"name": "churn-predictor", "version": str(number), "tags": tags}
        answer = {"model_version": version, "artifact_uri": f"/models/{number}"}
    says(200, json.dumps(answer))(request)


def test_models_only_judges_a_release_from_what_mlflow_knows(checkout: Checkout, mlops: Command) -> None:
    checkout.write(BUMPED)
    with server(registry) as uri:
        code, told = models_only(mlops, uri)
    (preview,) = told["previews"]
    assert (code, preview["verdict"]["kind"], preview["diff"]["new"]["validated_against"]) == (0, "passes", "7")
    assert told["line"].startswith("prod passes, with ")
    assert told["line"].endswith(": 1 release")


MISSING = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such model"})


def test_three_bumped_endpoints_and_a_deleted_model_are_three_verdicts(checkout: Checkout, mlops: Command) -> None:
    names = ("a", "b", "c")
    checkout.write({"mlops:endpoints": {name: {"version": 1} for name in names}})
    checkout.commit()
    checkout.write({"mlops:endpoints": {name: {"version": 2, "model": "gone"} for name in names}})
    with server(says(404, MISSING)) as uri:
        code, told = models_only(mlops, uri)
    assert code == ExitCode.REFUSED
    assert [each["verdict"]["line"] for each in told["previews"]] == [
        f"{name}: {name} 1 -> gone 2 is refused because the registry has no model gone" for name in names
    ]


def test_new_removed_and_renamed_endpoints_are_shown(checkout: Checkout, mlops: Command) -> None:
    checkout.write({"mlops:endpoints": {"renamed": {"version": 7, "model": "churn-predictor"}}})
    code, told = models_only(mlops)
    assert code == ExitCode.DONE
    lines = [each["verdict"]["line"] for each in told["previews"]]
    assert lines[0] == "churn-predictor: removing version 7 passes: no version is served afterwards"
    assert lines[1].startswith("renamed: first version 7 could not be verified")


def test_an_entry_without_a_version_is_bad_input(checkout: Checkout, mlops: Command) -> None:
    checkout.write({"mlops:endpoints": {"churn-predictor": {"version": "latest"}}})
    code, said = mlops("preview", "--stack", "prod", "--base", "main", "--models-only")
    assert (code, said.startswith("mlops: mlops:endpoints.churn-predictor.version is not valid")) == (2, True)
