"""`mlops comment`: a comment and a commit status, or one line that says why not."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Command
from tests.pull_requests.github_double import APP, NAME, GitHub, Request, Response, environment, serve

SHA, MERGE = "a" * 40, "b" * 40
SAID = "### ⛔ **churn: version 7 -> 8 is refused**\n"


def no_wait(_: float) -> None:
    """GitHub's waits are not waited for."""


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """GitHub, in a workflow of a pull request whose newest commit is SHA."""
    for name in ("GITHUB_RUN_ID", "GITHUB_RUN_NUMBER", "GITHUB_RUN_ATTEMPT", "GITHUB_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "event.json").write_text(json.dumps({"number": 12, "pull_request": {"head": {"sha": SHA}}}))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    monkeypatch.setenv("GITHUB_SHA", MERGE)
    monkeypatch.setattr("time.sleep", no_wait)
    with serve(tmp_path) as made:
        for name, value in environment(made).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    report = tmp_path / "report.md"
    report.write_text(SAID)
    return ["comment", "--stack", "prod", "--pull-request", 12, "--file", report, "--outcome"]


@pytest.mark.parametrize(("outcome", "state"), [("passes", "success"), ("refused", "failure"), ("unverified", "error")])
def test_the_comment_and_then_the_status_of_the_pull_requests_commit_are_written(
    github: GitHub, mlops: Command, words: list[object], outcome: str, state: str
) -> None:
    code, said = mlops(*words, outcome)
    (comment,) = github.comments
    (status,) = github.statuses
    assert (code, said) == (0, f"{comment['html_url']}: mlops preview (prod) of commit {SHA[:12]}: {outcome}\n")
    assert SAID.strip() in comment["body"]
    assert f"Report of commit {SHA}." in comment["body"]
    assert (status["sha"], status["context"], status["state"]) == (SHA, "mlops preview (prod)", state)
    assert status["target_url"] == comment["html_url"]
    assert github.asked.index("issues/create-comment") < github.asked.index("repos/create-commit-status")


def test_a_run_that_is_killed_between_comment_and_status_is_finished_by_the_next(
    github: GitHub, mlops: Command, words: list[object]
) -> None:
    command = [sys.executable, "-c", "from cli.main import main; main()", *map(str, words), "refused"]
    killed = subprocess.Popen(command)

    def kill(request: Request) -> Response | None:
        if request.operation == "repos/create-commit-status":
            killed.kill()
            return Response(503, {"message": "nobody reads this"})
        return None

    github.before = kill
    assert killed.wait() == -signal.SIGKILL
    assert (len(github.comments), github.statuses) == (1, [])
    github.before = lambda _: None
    assert mlops(*words, "refused")[0] == 0
    assert (len(github.comments), len(github.statuses)) == (1, 1)


def test_the_run_is_linked_and_a_later_run_of_the_same_commit_keeps_comment_and_status(
    github: GitHub, mlops: Command, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ID", "991"), ("NUMBER", "5"), ("ATTEMPT", "2")):
        monkeypatch.setenv(f"GITHUB_RUN_{name}", value)
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example.com")
    assert mlops(*words, "passes")[0] == 0
    assert f"[this run](https://git.example.com/{NAME}/actions/runs/991)" in github.of(12)[0]
    monkeypatch.setenv("GITHUB_RUN_NUMBER", "4")
    code, said = mlops(*words, "refused")
    assert code == 0
    assert "run 5 has a later report of the same commit; it stays" in said
    assert [one["state"] for one in github.statuses] == ["success"]


def test_an_older_run_of_another_commit_sets_its_own_status_and_leaves_the_comment(
    github: GitHub, mlops: Command, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_RUN_NUMBER", "5")
    assert mlops(*words, "passes")[0] == 0
    monkeypatch.setenv("GITHUB_RUN_NUMBER", "4")
    code, said = mlops(*words, "refused", "--commit", "C" * 40)
    assert code == 0
    assert "the comment has the later report of run 5, which stays" in said
    assert [(one["sha"], one["state"]) for one in github.statuses] == [(SHA, "success"), ("c" * 40, "failure")]
    assert SHA in github.of(12)[0]


def test_a_report_comes_from_a_pipe_and_its_commit_from_the_environment(
    github: GitHub, mlops: Command, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_EVENT_PATH")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe \xff")))
    assert mlops(*(("-" if isinstance(word, Path) else word) for word in words), "passes")[0] == 0
    assert "from a pipe" in github.of(12)[0]
    assert [one["sha"] for one in github.statuses] == [MERGE]


@pytest.mark.parametrize(
    ("name", "value", "code", "said"),
    [
        ("GITHUB_TOKEN", "", 2, "GITHUB_TOKEN is not set; set it to a token that may write to octo-org/platform"),
        ("GITHUB_TOKEN", "ghs_expired", 2, "could not read who the token belongs to: GitHub responded 401"),
        ("GITHUB_TOKEN", "ghp_reader", 2, "the right that it lacks on octo-org/platform (pull_requests=write)"),
        (
            "GITHUB_REPOSITORY",
            "octo-org/absent",
            2,
            "GitHub responded 404 Not Found; it does not exist in octo-org/absent",
        ),
        ("GITHUB_API_URL", "http://127.0.0.1:1", 1, "does not respond"),
        ("GITHUB_EVENT_PATH", "/nowhere/event.json", 2, "cannot be read; write --commit SHA"),
    ],
)
def test_a_wrong_environment_is_one_line_and_half_a_comment_is_never_written(
    github: GitHub,
    mlops: Command,
    words: list[object],
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str,
    value: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv(name, value)
    ended, output = mlops(*words, "passes")
    assert ended == code
    assert said in output.splitlines()[-1]
    assert (github.comments, github.statuses) == ([], [])


def test_a_comment_that_github_refuses_as_a_whole_is_one_line(
    github: GitHub, mlops: Command, words: list[object]
) -> None:
    content = {
        "message": "Validation Failed",
        "documentation_url": "x",
        "errors": [{"code": "custom", "message": "no"}],
    }
    github.before = lambda one: Response(422, content) if one.operation == "issues/create-comment" else None
    code, said = mlops(*words, "passes")
    refused = "could not comment on pull request 12: GitHub responded 422 Validation Failed: no; check what you wrote"
    assert (code, said) == (2, f"mlops: {refused}\n")


def test_a_report_that_is_missing_or_empty_sends_no_request(
    github: GitHub, mlops: Command, words: list[object], tmp_path: Path
) -> None:
    report = tmp_path / "report.md"
    report.write_text(" \n")
    assert mlops(*words, "passes") == (
        2,
        f"mlops: --file {report} is empty; write the report with `mlops preview --markdown --out {report}`\n",
    )
    report.unlink()
    code, said = mlops(*words, "passes")
    assert (code, len(said.splitlines())) == (2, 1)
    assert mlops(*words, "maybe")[0] == 2
    assert mlops(*words, "passes", "--commit", "main")[0] == 2
    assert github.asked == []


def test_sixty_comments_and_a_report_of_200_kilobytes(
    github: GitHub, mlops: Command, words: list[object], tmp_path: Path
) -> None:
    for number in range(60):
        github.comment(12, f"I think {number}")
    (tmp_path / "report.md").write_text(SAID + "| a row of the report | 1 |\n" * 8000)
    for outcome in ("refused", "passes"):
        assert mlops(*words, outcome)[0] == 0
    (found,) = github.of(12, APP)
    assert len(found) <= 65_536
    assert SAID.strip() in found
