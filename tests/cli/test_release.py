"""`mlops release`: one line of the stack file in a git checkout."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from model_preview import reading
from model_preview.facts import Change, Facts, Version
from tests.command import Command

A, B = (f"sha256:{letter * 64}" for letter in "ab")
FILE = """\
config:
  mlops:endpoints:
    churn:
      version: {version} # ours
      replicas: {{min: 2, max: 4}}
    fraud: {{version: 3}}
"""
Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """git in an empty repository, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("NAME", "ada"), ("EMAIL", "ada@example.com")):
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2026-11-02T12:00:00Z")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-11-02T12:00:00Z")

    def run(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "--quiet", "--initial-branch", "main")
    (tmp_path / "Pulumi.yaml").write_text("name: mlops\nruntime: python\n")
    return run


def commit(git: Git, version: object, message: str, text: str = FILE) -> str:
    """Commit the stack file with this version."""
    Path("Pulumi.prod.yaml").write_text(text.format(version=version))
    git("add", ".")
    git("commit", "--quiet", "--message", message)
    return git("rev-parse", "HEAD")[:12]


def test_a_release_is_a_diff_of_one_line_and_says_what_comes_next(git: Git, mlops: Command) -> None:
    commit(git, 7, "Release 7")
    code, said = mlops("release", "churn", 8, "--stack", "prod")
    assert code == 0
    assert git("diff", "--numstat") == "1\t1\tPulumi.prod.yaml"
    assert "-      version: 7 # ours\n+      version: 8 # ours\n" in said
    assert said.splitlines()[-1] == "Pulumi.prod.yaml is changed; next: pulumi preview --stack prod"


def test_a_dry_run_shows_the_difference_and_changes_nothing(git: Git, mlops: Command) -> None:
    commit(git, 7, "Release 7")
    code, said = mlops("release", "fraud", 4, "--stack", "org/mlops/prod", "--dry-run")
    assert code == 0
    assert "+    fraud: {version: 4}\n" in said
    assert said.splitlines()[-1] == "Pulumi.prod.yaml: nothing was changed"
    assert git("status", "--porcelain") == ""


def test_a_digest_is_one_more_line_and_the_next_release_needs_its_own(git: Git, mlops: Command) -> None:
    commit(git, 7, "Release 7")
    assert mlops("release", "churn", 8, "--stack", "prod", "--digest", "a" * 64)[0] == 0
    assert git("diff", "--numstat") == "2\t1\tPulumi.prod.yaml"
    assert f'      digest: "{A}"\n' in Path("Pulumi.prod.yaml").read_text()
    code, said = mlops("release", "churn", 9, "--stack", "prod")
    assert code == 1
    assert (
        "churn needs the digest of version 9 in the stack file (tag model_digest), and it is not known: MLflow" in said
    )
    assert said.endswith("; write --digest\n")
    assert mlops("release", "churn", 9, "--stack", "prod", "--digest", B)[0] == 0


def test_a_digest_that_the_stack_requires_comes_from_mlflow(
    git: Git, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(uri: str, changes: list[Change], *, token: str) -> Facts:
        del uri, changes, token
        return Facts(models={}, versions={("churn", 8): Version(model="churn", number=8, digest="b" * 64)})

    monkeypatch.setattr(reading, "read", read)
    commit(git, 7, "Release 7", FILE.replace("config:\n", "config:\n  mlops:gate: {{digest: required}}\n"))
    assert mlops("release", "churn", 8, "--stack", "prod")[0] == 0
    assert f'      digest: "{B}"\n' in Path("Pulumi.prod.yaml").read_text()
    code, said = mlops("release", "churn", 9, "--stack", "prod")
    assert code == 2
    assert "MLflow has no churn version 9 with this tag; write --digest" in said


def test_previous_is_the_last_other_version_of_the_branch_with_its_commit_and_digest(
    git: Git, mlops: Command, tmp_path: Path
) -> None:
    commit(git, 6, "Release 6")
    pinned = FILE.replace("ours\n", f'ours\n      digest: "{A}"\n')
    before = commit(git, 7, "Release 7", pinned)
    git("checkout", "--quiet", "-b", "next")
    commit(git, 30, "Try 30")
    commit(git, 8, "Release 8")
    git("checkout", "--quiet", "main")
    git("merge", "--quiet", "--no-ff", "next", "--message", "Merge the release of 8")
    (tmp_path / "README.md").write_text("later\n")
    commit(git, 8, "Something else")
    code, said = mlops("release", "churn", "--previous", "--stack", "prod")
    assert code == 0
    assert said.splitlines()[0] == f"churn: version 7 again, as in commit {before} of 2026-11-02 (Release 7)"
    assert Path("Pulumi.prod.yaml").read_text() == pinned.format(version=7)


def test_previous_takes_a_digest_away_that_the_former_entry_did_not_have(git: Git, mlops: Command) -> None:
    commit(git, 7, "Release 7")
    commit(git, 8, "Release 8", FILE.replace("ours\n", f'ours\n      digest: "{A}"\n'))
    assert mlops("release", "churn", "--previous", "--stack", "prod")[0] == 0
    assert Path("Pulumi.prod.yaml").read_text() == FILE.format(version=7)


def test_previous_of_a_previous_is_the_version_before_the_rollback(git: Git, mlops: Command) -> None:
    for version in (7, 8, 7):
        commit(git, version, f"Release {version}")
    assert mlops("release", "churn", "--previous", "--stack", "prod")[1].startswith("churn: version 8 again")


def test_commits_with_a_broken_file_are_passed_over(git: Git, mlops: Command) -> None:
    commit(git, 7, "Release 7")
    for text in ("config: [", "config: {{}}\n"):
        commit(git, 0, "Break", text)
    commit(git, 8, "Release 8")
    assert mlops("release", "churn", "--previous", "--stack", "prod")[1].startswith("churn: version 7 again")


def test_previous_of_another_model_is_left_to_a_person(git: Git, mlops: Command) -> None:
    commit(git, 7, "Release 7")
    commit(git, 1, "Another model", FILE.replace("replicas", "model: other\n      replicas"))
    code, said = mlops("release", "churn", "--previous", "--stack", "prod")
    assert code == 2
    assert "before it served other, churn served churn version 7, as in commit" in said


def test_a_history_without_another_version_says_so(git: Git, mlops: Command) -> None:
    commit(git, 6, "Release 6")
    commit(git, 7, "Release 7")
    code, said = mlops("release", "fraud", "--previous", "--stack", "prod")
    assert code == 2
    assert said.endswith("no commit in which fraud had another version than 3; write the version\n")


def test_a_shallow_checkout_is_named(git: Git, mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(git, 6, "Release 6")
    commit(git, 7, "Release 7")
    git("clone", "--quiet", "--depth", "1", f"file://{tmp_path}", str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    code, said = mlops("release", "churn", "--previous", "--stack", "prod")
    assert code == 2
    assert "this checkout lacks older commits; fetch them (git fetch --unshallow)" in said


def test_a_reason_for_the_present_version_is_pointed_out(git: Git, mlops: Command) -> None:
    commit(git, 7, "Release 7", FILE.replace("replicas", "override: incident 12\n      replicas"))
    code, said = mlops("release", "churn", 8, "--stack", "prod")
    assert code == 0
    assert "churn has override, which was written for version 7; remove it" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["churn", 7, "--stack", "prod"], "churn has version 7 already; write another version"),
        (["churn", 0, "--stack", "prod"], "greater than or equal to 1"),
        (["churn", "--stack", "prod"], "write either the number of the new version, or --previous"),
        (["churn", 8, "--previous", "--stack", "prod"], "write either the number of the new version, or --previous"),
        (
            ["absent", 8, "--stack", "prod"],
            "Pulumi.prod.yaml has no endpoint absent; endpoints with a version: churn, fraud",
        ),
        (["churn", 8, "--stack", "dev"], "has no Pulumi.dev.yaml; stacks with a file: prod"),
        (["churn", 8, "--stack", "../prod x"], "is not the name of a stack"),
        (["churn", 8, "--stack", "prod", "--digest", "latest"], "'latest' is not a digest"),
    ],
)
def test_a_wrong_request_is_one_line_and_changes_nothing(
    git: Git, mlops: Command, words: list[object], said: str
) -> None:
    commit(git, 7, "Release 7")
    code, output = mlops("release", *words)
    (line,) = output.splitlines()
    assert code == 2
    assert said in line
    assert git("status", "--porcelain") == ""


def test_the_selected_stack_is_the_default(git: Git, mlops: Command, pulumi: Path) -> None:
    commit(git, 7, "Release 7")
    (pulumi / "preview").write_text("prod\n")
    assert mlops("release", "churn", 8)[0] == 0
    assert (pulumi / "asked").read_text() == "stack --show-name --non-interactive\n"
    (pulumi / "code").write_text("255")
    assert mlops("release", "churn", 9) == (
        2,
        "mlops: no stack is selected; write --stack NAME, or run `pulumi stack select NAME`\n",
    )


def test_outside_a_project_the_command_says_where_to_run_it(
    mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = mlops("release", "churn", 8, "--stack", "prod")
    assert (code, said) == (
        2,
        f"mlops: there is no Pulumi.yaml in {tmp_path} or above it; run the command in a checkout\n",
    )


def test_a_file_that_git_does_not_have_has_no_history(
    mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "Pulumi.yaml").write_text("name: mlops\n")
    (tmp_path / "Pulumi.prod.yaml").write_text(FILE.format(version=7))
    code, said = mlops("release", "churn", "--previous", "--stack", "prod")
    assert code == 2
    assert "git cannot read the history of" in said
    assert said.endswith("run the command in a git checkout\n")


def test_a_release_of_the_challengers_version_ends_the_experiment_in_the_same_difference(
    git: Git, mlops: Command
) -> None:
    challenger = "challenger: {{version: 8, percent: 10, key: X-Customer-Id, experiment: trees}}"
    text = FILE.replace("replicas:", f"{challenger}\n      replicas:")
    commit(git, 7, "Try 8", text)
    code, said = mlops("release", "churn", 8, "--stack", "prod")
    assert code == 0
    assert "-      challenger: {version: 8, " in said
    assert git("diff", "--numstat") == "1\t2\tPulumi.prod.yaml"
    git("checkout", "Pulumi.prod.yaml")
    assert mlops("release", "churn", 9, "--stack", "prod")[0] == 0
    assert "challenger: {version: 8" in Path("Pulumi.prod.yaml").read_text()
