"""One comment for each stack, with other comments on the pull request and other programs that write meanwhile."""

import threading

import pytest

from contract.exit_codes import ExitCode
from pull_requests.errors import GitHubError
from pull_requests.sticky import Report, Run, publish
from tests.pull_requests.conftest import Connect
from tests.pull_requests.github_double import ADA, APP, GitHub, Request, Response

PULL = 12
SHAS = {number: f"{number:x}" * 40 for number in range(1, 10)}


def report(number: int = 1, text: str = "", stack: str = "prod", attempt: int = 1) -> Report:
    said = text or f"report of run {number}"
    return Report(stack=stack, commit=SHAS.get(number, "0" * 40), run=Run(number=number, attempt=attempt), text=said)


def say(connect: Connect, one: Report, token: str = "ghs_app") -> None:
    connection = connect(token)
    publish(connection, connection.author(), PULL, one)


def only(github: GitHub) -> str:
    """Text of the one comment of the app."""
    (found,) = github.of(PULL)
    return found


def test_a_second_report_replaces_the_first_in_the_same_comment(github: GitHub, connect: Connect) -> None:
    say(connect, report(1))
    (first,) = github.comments
    say(connect, report(2))
    assert "report of run 2" in only(github)
    assert "report of run 1" not in only(github)
    assert [one["id"] for one in github.comments] == [first["id"]]


def test_a_report_that_is_there_already_is_not_written_again(github: GitHub, connect: Connect) -> None:
    say(connect, report(1))
    github.asked.clear()
    say(connect, report(1))
    assert github.asked == ["graphql", "issues/list-comments"]


def test_the_comment_is_found_behind_sixty_others_and_on_a_later_page(github: GitHub, connect: Connect) -> None:
    for number in range(60):
        github.comment(PULL, f"I think {number}")
    say(connect, report(1))
    for number in range(150):
        github.comment(PULL, f"I think {number} again")
    github.comments.insert(0, github.comments.pop(60))
    github.comments.append(github.comments.pop(0))  # the third page
    say(connect, report(2))
    assert "report of run 2" in only(github)


def test_each_stack_has_a_comment_of_its_own(github: GitHub, connect: Connect) -> None:
    for stack in ("prod", "dev", "org/platform/prod", "a--b", "a b"):
        say(connect, report(1, f"about {stack}", stack))
        say(connect, report(2, f"again about {stack}", stack))
    assert len(github.of(PULL)) == 5
    assert all("again about" in text for text in github.of(PULL))


def test_comments_of_others_are_never_changed_even_with_our_marker(github: GitHub, connect: Connect) -> None:
    say(connect, report(9))
    forged = github.comment(PULL, github.comments[0]["body"], ADA)
    github.comments.reverse()
    say(connect, report(9, "the truth"))
    assert forged["body"] == github.of(PULL, ADA)[0]
    assert "the truth" in only(github)


def test_a_report_that_shows_a_marker_is_not_taken_for_one(github: GitHub, connect: Connect) -> None:
    say(connect, report(1, report(9, stack="dev").body))
    say(connect, report(1, "of dev", "dev"))
    assert len(github.of(PULL)) == 2


def test_an_older_run_never_replaces_a_later_report(github: GitHub, connect: Connect) -> None:
    say(connect, report(2, attempt=2))
    for number, attempt in ((1, 1), (1, 3), (2, 1)):
        say(connect, report(number, "older", attempt=attempt))
        assert "report of run 2" in only(github)


def test_a_report_from_a_shell_replaces_the_one_of_a_run(github: GitHub, connect: Connect) -> None:
    say(connect, report(2))
    say(connect, report(0, "by hand", attempt=0))
    assert "by hand" in only(github)
    say(connect, report(1))
    assert "report of run 1" in only(github)


BETWEEN = {
    "first comment": [None, "issues/list-comments", "issues/create-comment"],
    # A run that is suspended between its read and its write is not here: it cannot see what it overwrites.
    "next comment": ["graphql", "issues/list-comments", None],
}


@pytest.mark.parametrize(
    ("start", "operation"), [(start, one) for start, several in BETWEEN.items() for one in several]
)
@pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 1), (1, 1)])
def test_a_run_in_the_middle_of_another_leaves_one_comment_with_the_later_report(
    github: GitHub, connect: Connect, *, start: str, operation: str | None, one: int, other: int
) -> None:
    """The other run does all that it does before the first run's request for the operation, or at the end."""
    if start == "next comment":
        say(connect, report(0, "older", attempt=0))

    def other_run(request: Request) -> Response | None:
        if request.operation == operation:
            github.before = lambda _: None
            say(connect, report(other))
        return None

    github.before = other_run
    say(connect, report(one))
    if operation is None:
        say(connect, report(other))
    assert f"report of run {max(one, other)}" in only(github)


def test_many_runs_at_once_leave_one_comment(github: GitHub, connect: Connect) -> None:
    connection = connect()
    author, together = connection.author(), threading.Barrier(6)

    def run(number: int) -> None:
        together.wait()
        publish(connection, author, PULL, report(number))

    threads = [threading.Thread(target=run, args=[number + 1]) for number in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(github.of(PULL)) == 1


def test_a_write_that_has_to_wait_looks_again_before_it_writes(
    github: GitHub, connect: Connect, waited: list[float]
) -> None:
    say(connect, report(1))

    def busy_once(request: Request) -> Response | None:
        if request.operation != "issues/update-comment":
            return None
        github.before = lambda _: None
        say(connect, report(3))
        return Response(429, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "40"})

    github.before = busy_once
    say(connect, report(2))
    assert waited == [40]
    assert "report of run 3" in only(github)


def test_a_comment_that_was_made_although_the_response_was_lost_is_not_made_twice(
    github: GitHub, connect: Connect
) -> None:
    def lose(request: Request) -> None:
        if request.operation == "issues/create-comment":
            github.after = lambda _: None
            raise ConnectionResetError

    github.after = lose
    say(connect, report(1))
    assert "report of run 1" in only(github)
    assert github.asked.count("issues/create-comment") == 1


def test_a_comment_that_was_deleted_meanwhile_is_made_again(github: GitHub, connect: Connect) -> None:
    say(connect, report(1))

    def deleted(request: Request) -> Response | None:
        if request.operation == "issues/update-comment":
            github.before = lambda _: None
            github.comments.clear()
        return None

    github.before = deleted
    say(connect, report(2))
    assert "report of run 2" in only(github)


def test_a_list_that_lags_behind_does_not_make_a_second_comment(github: GitHub, connect: Connect) -> None:
    def stale(request: Request) -> Response | None:
        return Response(200, []) if request.operation == "issues/list-comments" else None

    github.before = stale
    say(connect, report(1))
    assert "report of run 1" in only(github)


@pytest.mark.parametrize("operation", ["issues/update-comment", "issues/create-comment"])
def test_a_404_that_stays_is_an_error(github: GitHub, connect: Connect, operation: str) -> None:
    if operation == "issues/update-comment":
        say(connect, report(1))
    absent = Response(404, {"message": "Not Found"})
    github.before = lambda request: absent if request.operation == operation else None
    with pytest.raises(GitHubError, match="GitHub responded 404 Not Found") as found:
        say(connect, report(2))
    assert found.value.code == ExitCode.BAD_INPUT


def test_a_deleted_user_among_the_authors_is_no_error(github: GitHub, connect: Connect) -> None:
    github.comment(PULL, "I left")["user"] = None
    say(connect, report(1), "ghp_ada")
    assert len(github.of(PULL, ADA)) == 1
    assert github.of(PULL, APP) == []


def test_a_write_that_github_cannot_carry_out_is_an_error_in_bounded_time(
    github: GitHub, connect: Connect, waited: list[float]
) -> None:
    broken = Response(502, {"message": "Server Error"})
    github.before = lambda request: broken if request.operation == "issues/create-comment" else None
    with pytest.raises(GitHubError, match="GitHub responded 502 Server Error; run the command again later") as found:
        say(connect, report(1))
    assert found.value.code == ExitCode.FAILED
    assert waited == [1, 2, 4, 8, 16]
