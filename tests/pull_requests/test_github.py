"""GitHub that is busy, refuses, or is somewhere else."""

import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from contract.exit_codes import ExitCode
from pull_requests import github as client
from pull_requests.errors import GitHubError
from pull_requests.github import Nothing, Repository
from tests.pull_requests.conftest import Connect
from tests.pull_requests.github_double import NAME, GitHub, Request, Response, environment, serve

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
DATE = {"Date": format_datetime(NOW, usegmt=True)}
SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
PRIMARY = {"message": "API rate limit exceeded for installation ID 1."}
BAD = {"message": "Server Error"}


def reset(seconds: float) -> dict[str, str]:
    end = str(int((NOW + timedelta(seconds=seconds)).timestamp()))
    return {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": end, **DATE}


def fail(github: GitHub, times: int, status: int, content: Mapping[str, object], headers: Mapping[str, str]) -> None:
    """Respond with this to the next requests."""
    left = [Response(status, content, headers)] * times
    github.before = lambda _: left.pop() if left else None


def read(connect: Connect, token: str = "ghs_app") -> object:
    return connect(token).get("", Nothing, "read the repository")


@pytest.mark.parametrize(
    ("status", "content", "headers", "seconds"),
    [
        (429, SECONDARY, {"Retry-After": "17"}, [17, 17]),
        (403, SECONDARY, {"Retry-After": "17"}, [17, 17]),
        (403, SECONDARY, {"Retry-After": format_datetime(NOW + timedelta(seconds=9), usegmt=True), **DATE}, [9, 9]),
        (403, SECONDARY, {}, [60, 120]),
        (429, SECONDARY, {}, [60, 120]),
        (403, PRIMARY, reset(30), [31, 31]),
        (429, PRIMARY, reset(-5), [1, 1]),
        (500, BAD, {}, [1, 2]),
        (502, BAD, {}, [1, 2]),
        (503, BAD, {"Retry-After": "3"}, [3, 3]),
    ],
)
def test_a_busy_github_is_asked_again_after_the_time_that_it_names(
    github: GitHub,
    connect: Connect,
    waited: list[float],
    status: int,
    *,
    content: Mapping[str, object],
    headers: Mapping[str, str],
    seconds: list[float],
) -> None:
    fail(github, 2, status, content, headers)
    read(connect)
    assert waited == pytest.approx(seconds, abs=1.5 if "Date" not in headers else 0.01)


def test_a_limit_that_ends_too_late_is_an_error_at_once(github: GitHub, connect: Connect, waited: list[float]) -> None:
    fail(github, 1, 403, PRIMARY, reset(1500))
    with pytest.raises(
        GitHubError, match="the rate limit ends at 12:25:00 UTC, and this command waits at most 300 s"
    ) as found:
        read(connect)
    assert found.value.code == ExitCode.FAILED
    assert waited == []


@pytest.mark.parametrize(("status", "content", "headers"), [(500, BAD, {}), (429, SECONDARY, {"Retry-After": "50"})])
def test_a_github_that_stays_busy_is_an_error_in_bounded_time(
    github: GitHub,
    connect: Connect,
    waited: list[float],
    *,
    status: int,
    content: Mapping[str, object],
    headers: Mapping[str, str],
) -> None:
    fail(github, 100, status, content, headers)
    with pytest.raises(GitHubError, match=f"GitHub responded {status} .*; run the command again later") as found:
        read(connect)
    assert found.value.code == ExitCode.FAILED
    assert 5 <= len(waited) <= 6
    assert sum(waited) <= client.PATIENCE


def test_a_missing_right_is_no_rate_limit_and_its_name_is_reported(
    github: GitHub, connect: Connect, waited: list[float]
) -> None:
    with pytest.raises(GitHubError) as found:
        connect("ghp_reader").send("POST", f"/statuses/{'a' * 40}", Nothing, "set a status", {"state": "success"})
    assert str(found.value) == (
        "could not set a status: GitHub responded 403 Resource not accessible by integration; give the token the right "
        f"that it lacks on {NAME} (statuses=write)"
    )
    assert (found.value.code, waited) == (ExitCode.BAD_INPUT, [])
    assert github.statuses == []


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "the token is wrong or has expired; set GITHUB_TOKEN to a valid one"),
        (404, "it does not exist in octo-org/platform, or the token may not see it"),
        (301, "octo-org/platform was renamed or moved; set GITHUB_REPOSITORY to its present name"),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(
    github: GitHub, connect: Connect, waited: list[float], status: int, advice: str
) -> None:
    fail(github, 1, status, {"message": "Moved\nor gone", "url": "https://example.com"}, {})
    with pytest.raises(GitHubError) as found:
        read(connect)
    assert f"GitHub responded {status} Moved or gone; {advice}" in str(found.value)
    assert (found.value.code, waited) == (ExitCode.BAD_INPUT, [])


def test_an_unknown_token_is_a_401(connect: Connect, github: GitHub) -> None:
    github.tokens.clear()
    with pytest.raises(GitHubError, match="401 Bad credentials; the token is wrong"):
        read(connect)


def test_an_address_without_a_server_is_an_error_in_bounded_time() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    waited: list[float] = []
    here = Repository(name=NAME, token="t", api=address)
    with (
        client.GitHub(here, tell=lambda _: None, wait=waited.append) as connection,
        pytest.raises(GitHubError) as found,
    ):
        connection.get("", Nothing, "read the repository")
    assert str(found.value).startswith(
        f"could not read the repository: GitHub at {address}/repos/{NAME} does not respond"
    )
    assert found.value.code == ExitCode.FAILED
    assert sum(waited) < 60


def test_a_page_that_is_no_github_is_named(github: GitHub, connect: Connect) -> None:
    page = Response(200, ["<html>"])
    github.before = lambda request: page if request.operation == "graphql" else None
    with pytest.raises(GitHubError, match=r"did not respond as GitHub's API does .*; check GITHUB_API_URL"):
        connect().author()


def test_an_error_of_the_graphql_api_is_one_line(github: GitHub, connect: Connect) -> None:
    limited = Response(200, {"data": None, "errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]})
    github.before = lambda request: limited if request.operation == "graphql" else None
    with pytest.raises(
        GitHubError, match=r"could not read who the token belongs to: .* API rate limit exceeded; run"
    ) as found:
        connect().author()
    assert found.value.code == ExitCode.FAILED


def test_github_enterprise_is_found_by_its_url(tmp_path: Path) -> None:
    with serve(tmp_path, enterprise=True) as github:
        assert github.address.endswith("/api/v3")
        with client.GitHub(Repository.from_environment(environment(github)), tell=lambda _: None) as connection:
            assert connection.author() == github.tokens["ghs_app"].id
            connection.get("", Nothing, "read the repository")
        assert github.asked == ["graphql", "repos/get"]


def test_the_token_is_not_in_messages_and_not_in_the_representation() -> None:
    assert "s3cret" not in repr(Repository(name=NAME, token="s3cret"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN is not set"),
        ({"GITHUB_TOKEN": "two words"}, "GITHUB_TOKEN has characters that no token has"),
        ({"GITHUB_REPOSITORY": ""}, "GITHUB_REPOSITORY is ''; set it to the repository, as in owner/name"),
        ({"GITHUB_REPOSITORY": "a/b/c"}, "GITHUB_REPOSITORY is 'a/b/c'"),
        ({"GITHUB_API_URL": "ftp://example.com"}, "GITHUB_API_URL 'ftp://example.com' is not a URL"),
        ({"GITHUB_API_URL": "http://["}, "is not a URL"),
    ],
)
def test_a_variable_that_is_missing_or_wrong_is_named(wrong: Mapping[str, str], said: str) -> None:
    right = {"GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": NAME}
    assert Repository.from_environment(right).api == "https://api.github.com"
    with pytest.raises(GitHubError) as found:
        Repository.from_environment({**right, **wrong})
    assert said in str(found.value)


def test_a_server_that_wants_another_address_gets_no_token(github: GitHub, connect: Connect) -> None:
    """A redirect may lead to another host."""
    seen: list[Request] = []

    def redirect(request: Request) -> Response:
        seen.append(request)
        content = {"message": "Moved Permanently", "url": github.address, "documentation_url": "x"}
        return Response(301, content, {"Location": f"{github.address}/repos/{NAME}"})

    github.before = redirect
    with pytest.raises(GitHubError, match="renamed or moved"):
        read(connect)
    assert len(seen) == 1
