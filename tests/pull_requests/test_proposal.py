"""One pull request for each stack and endpoint, whose branch is always the base branch with one line changed."""

import threading
from collections.abc import Callable

import pytest

from contract.exit_codes import ExitCode
from pull_requests import proposal as proposals
from pull_requests.errors import GitHubError, PullRequestError
from pull_requests.proposal import DeclinedError, Proposal, Proposed
from tests.pull_requests.conftest import Connect
from tests.pull_requests.github_double import GitHub, Request, Response

FILE = "config:\n  mlops:endpoints:\n    churn: {version: 7} # ours\n    fraud: {version: 3}\n"
PATH, BRANCH = "Pulumi.prod.yaml", "mlops/release-prod-churn"
Propose = Callable[..., Proposed]


@pytest.fixture
def propose(github: GitHub, connect: Connect) -> Propose:
    """Return a function that proposes a version from the present state of the base branch."""
    github.commit("main", {PATH: FILE, "README.md": "read me\n"})

    def made(version: int, text: str = "the report", *, endpoint: str = "churn", token: str = "ghs_app") -> Proposed:
        connection = connect(token)
        base = proposals.read_base(connection, PATH)
        entry, after = base.file.entry(endpoint), base.file.release(endpoint, version, None)
        said = Proposal(stack="prod", base=base, entry=entry, version=version, after=after, report=text)
        return proposals.propose(connection, said)

    return made


def difference(github: GitHub, branch: str = BRANCH) -> list[str]:
    """Lines that the branch changes, and its commits on top of main."""
    changed = github.git("diff", "--unified=0", f"main...{branch}").splitlines()
    commits = github.git("log", "--format=%s", f"main..{branch}").splitlines()
    return [line for line in changed if line[0] in "+-" and line[:3] not in {"+++", "---"}] + commits


def eight(github: GitHub) -> bool:
    lines = ["-    churn: {version: 7} # ours", "+    churn: {version: 8} # ours"]
    return difference(github) == [*lines, "churn: version 7 -> 8 in prod"]


def test_a_proposal_is_a_pull_request_whose_difference_is_one_line(github: GitHub, propose: Propose) -> None:
    done = propose(8)
    (pull,) = github.pulls
    assert (done.url, done.done, done.author) == (pull["html_url"], "opened", "mlops-release[bot]")
    assert pull["title"] == "churn: version 7 -> 8 in prod"
    assert pull["body"].endswith("the report\n")
    assert (pull["head"]["ref"], pull["base"]["ref"]) == (BRANCH, "main")
    assert eight(github)


def test_the_same_proposal_again_changes_nothing(github: GitHub, propose: Propose) -> None:
    propose(8)
    tip = github.tip(BRANCH)
    assert propose(8).done == "unchanged"
    assert (github.tip(BRANCH), len(github.pulls)) == (tip, 1)


def test_a_newer_version_and_a_new_report_go_into_the_open_pull_request(github: GitHub, propose: Propose) -> None:
    propose(8)
    assert propose(9, "another report").done == "updated"
    (pull,) = github.pulls
    assert pull["title"] == "churn: version 7 -> 9 in prod"
    assert "another report" in pull["body"]
    assert difference(github)[1:] == ["+    churn: {version: 9} # ours", "churn: version 7 -> 9 in prod"]


def test_two_endpoints_have_two_pull_requests(github: GitHub, propose: Propose) -> None:
    propose(8)
    propose(4, endpoint="fraud")
    assert [one["head"]["ref"] for one in github.pulls] == [BRANCH, "mlops/release-prod-fraud"]
    assert eight(github)


def test_a_base_that_moved_gives_the_branch_a_new_beginning_and_the_pull_request_stays_open(
    github: GitHub, propose: Propose
) -> None:
    propose(8)
    github.commit("main", {PATH: FILE.replace("version: 3", "version: 4"), "README.md": "changed\n"})
    assert propose(8).done == "updated"
    assert eight(github)
    assert github.git("merge-base", "main", BRANCH) == github.tip("main")
    assert [one["state"] for one in github.pulls] == ["open"]


def test_a_merge_of_the_base_by_the_button_update_branch_does_not_stop_the_next_proposal(
    github: GitHub, propose: Propose
) -> None:
    propose(8)
    github.commit("main", {"README.md": "changed\n"})
    parents = ["-p", github.tip(BRANCH), "-p", github.tip("main")]
    tree = github.tree("main^{tree}", {PATH: FILE.replace("7", "8")})
    merged = github.git("commit-tree", tree, *parents, "-m", f"Merge branch 'main' into {BRANCH}")
    github.git("update-ref", f"refs/heads/{BRANCH}", merged)
    propose(8)
    assert eight(github)


def test_a_commit_of_a_person_on_the_branch_is_never_overwritten(github: GitHub, propose: Propose) -> None:
    propose(8)
    commit = github.commit(BRANCH, {"README.md": "why\n"}, "Say why")
    with pytest.raises(
        PullRequestError, match=f"has commit {commit[:12]}, which `mlops propose` did not make"
    ) as found:
        propose(9)
    assert found.value.code == ExitCode.REFUSED
    assert github.tip(BRANCH) == commit


def test_a_version_that_a_person_declined_is_not_proposed_again_and_another_one_is(
    github: GitHub, propose: Propose
) -> None:
    url = propose(8).url
    github.pulls[0]["state"] = "closed"
    with pytest.raises(
        DeclinedError, match=f"{url} was closed without a merge, so version 8 is not proposed again"
    ) as found:
        propose(8)
    assert found.value.code == ExitCode.REFUSED
    assert propose(9).done == "opened"
    with pytest.raises(DeclinedError):
        propose(8)
    github.pulls[1]["state"] = "closed"
    github.pulls[0]["state"] = "open"  # reopened by a person
    assert propose(8).done == "updated"


def test_a_merged_version_can_be_proposed_again_after_a_rollback(github: GitHub, propose: Propose) -> None:
    propose(8)
    github.pulls[0] |= {"state": "closed", "merged_at": "2026-11-30T12:00:00Z"}
    github.commit("main", {PATH: FILE.replace("7", "8")})
    github.commit("main", {PATH: FILE})
    assert propose(8).done == "opened"
    assert len(github.pulls) == 2


@pytest.mark.parametrize("operation", ["git/create-tree", "git/create-commit", "git/create-ref", "pulls/create", None])
def test_another_proposal_in_the_middle_of_this_one_leaves_one_pull_request(
    github: GitHub, propose: Propose, operation: str | None
) -> None:
    def other(request: Request) -> Response | None:
        if request.operation == operation:
            github.before = lambda _: None
            propose(8, token="ghp_ada")
        return None

    github.before = other
    propose(8)
    assert len(github.pulls) == 1
    assert eight(github)


@pytest.mark.parametrize("operation", ["git/create-tree", "git/create-commit", "git/create-ref", "pulls/create"])
def test_a_write_whose_response_was_lost_is_not_made_twice(github: GitHub, propose: Propose, operation: str) -> None:
    def lose(request: Request) -> None:
        if request.operation == operation:
            github.after = lambda _: None
            raise ConnectionResetError

    github.after = lose
    propose(8)
    assert len(github.pulls) == 1
    assert eight(github)


def test_two_proposals_at_once_leave_one_pull_request(github: GitHub, propose: Propose) -> None:
    threads = [threading.Thread(target=propose, args=[8]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(github.pulls) == 1
    assert eight(github)


def test_a_branch_that_was_deleted_is_made_again(github: GitHub, propose: Propose) -> None:
    propose(8)
    github.git("update-ref", "-d", f"refs/heads/{BRANCH}")
    assert propose(8).done == "updated"
    assert eight(github)


def test_a_report_of_200_kilobytes_fits(github: GitHub, propose: Propose) -> None:
    propose(8, "a line of the report\n" * 10_000)
    assert len(github.pulls[0]["body"]) <= 65_536
    assert propose(8, "a line of the report\n" * 10_000).done == "unchanged"


def test_a_file_that_the_base_lacks_is_named(github: GitHub, connect: Connect) -> None:
    github.commit("main", {"README.md": "read me\n"})
    with pytest.raises(GitHubError, match=r"could not read Pulumi.prod.yaml of main: GitHub responded 404"):
        proposals.read_base(connect(), PATH)


def test_a_token_that_may_not_write_leaves_no_branch(github: GitHub, propose: Propose) -> None:
    with pytest.raises(GitHubError, match=r"could not write the branch .*\(contents=write\)"):
        propose(8, token="ghp_reader")
    assert (github.tip(BRANCH), github.pulls) == ("", [])


def test_a_write_that_github_cannot_carry_out_is_an_error_in_bounded_time(
    github: GitHub, propose: Propose, waited: list[float]
) -> None:
    broken = Response(502, {"message": "Server Error"})
    github.before = lambda request: broken if request.operation == "pulls/create" else None
    with pytest.raises(GitHubError, match="GitHub responded 502 Server Error; run the command again later") as found:
        propose(8)
    assert found.value.code == ExitCode.FAILED
    assert waited == [1, 2, 4, 8, 16]
