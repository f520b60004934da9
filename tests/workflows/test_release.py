"""Releases from the first push to the pull request: the workflows in `act`, the real commands, a real MLflow, and a
GitHub that compares each request with GitHub's own description.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import paths
from tests.model_preview.conftest import MODEL, NEXT, SERVED, Lab, lab
from tests.projects import CHECKOUT
from tests.pull_requests.github_double import ACTIONS, NAME, GitHub, serve
from tests.registry import registry
from tests.workflows import act

__all__ = ["lab", "registry"]
pytestmark = pytest.mark.long
FILE = "Pulumi.prod.yaml"
BRANCH = f"mlops/release-prod-{MODEL}"
PREVIEWED = 12


def line(version: int) -> str:
    """Return the line of the stack file that a release changes."""
    return f"    {MODEL}: {{version: {version}}} # ours"


@dataclass(frozen=True)
class Platform:
    """A repository on GitHub, with a checkout, and the MLflow of its stack prod."""

    checkout: Path
    github: GitHub
    lab: Lab

    def release(self, version: int, *, merged: bool = False) -> None:
        """Commit the version in the stack file; the commit is on main if it is merged."""
        text = f"config:\n  mlops:gate: {{mode: fail}}\n  mlops:endpoints:\n{line(version)}\n"
        (self.checkout / FILE).write_text(text)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", f"Release {version}")
        if merged:
            self._git("update-ref", "refs/remotes/origin/main", "HEAD")
            self.github.commit("main", {FILE: text})

    def preview(self) -> bool:
        """Run the job Models of a pull request with the newest commit, and return whether it is green."""
        head = {"sha": self._git("rev-parse", "HEAD"), "ref": "release", "repo": {"full_name": NAME}}
        pull = {"number": PREVIEWED, "head": head, "base": {"ref": "main"}}
        return self._start("preview", "pull_request", {"number": PREVIEWED, "pull_request": pull}, job="models")

    def by_hand(self, workflow: str, **inputs: str) -> bool:
        return self._start(workflow, "workflow_dispatch", {"inputs": inputs})

    @property
    def proposed(self) -> str:
        """Changed lines of the branch that a proposal makes."""
        lines = self.github.git("diff", "--unified=0", f"main...{BRANCH}").splitlines()
        return "\n".join(line for line in lines if line.startswith(("-  ", "+  ")))

    def _start(self, workflow: str, event: str, payload: dict[str, object], *, job: str | None = None) -> bool:
        done = act.start(
            workflow,
            event,
            payload,
            repository=self.checkout,
            variables={"MLFLOW_TRACKING_URI": self.lab.uri, "APP_CLIENT_ID": "Iv1.app", "AWS_REGION": "eu-west-1"},
            environment={
                "CALLS": str(self.checkout.parent / "calls"),
                "GITHUB_API_URL": self.github.address,
                "GITHUB_GRAPHQL_URL": f"{self.github.address}/graphql",
            },
            token="ghs_actions",
            app_token="ghs_app",
            job=job,
        )
        print(done.stdout)
        return done.returncode == 0

    def _git(self, *words: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]
        done = subprocess.run(["git", *who, *words], cwd=self.checkout, check=True, capture_output=True, text=True)
        return done.stdout.strip()


@pytest.fixture
def platform(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """Platform that serves the champion, with the files of this checkout and the lab's engine."""
    monkeypatch.setenv("PATH", os.pathsep.join([os.environ["PATH"], str(paths.binaries())]))
    checkout = tmp_path / "checkout"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in names:
        if (CHECKOUT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, checkout / name)
    for workflow in ("preview", "propose", "rollback"):
        act.write_workflow(workflow, checkout)
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", str(checkout)], check=True)
    subprocess.run(["git", "remote", "add", "origin", f"https://github.com/{NAME}"], cwd=checkout, check=True)
    with serve(tmp_path) as github:
        made = Platform(checkout, github, lab)
        made.release(SERVED, merged=True)
        yield made


def test_a_version_is_red_until_it_is_validated_and_the_same_comment_turns_green(platform: Platform) -> None:
    version = platform.lab.register(MODEL, NEXT)
    platform.release(version)
    assert not platform.preview()
    (refused,) = platform.github.of(PREVIEWED, ACTIONS)
    assert f"{MODEL}: version {SERVED} -&#62; {version} is refused" in refused
    assert f"mlops validate {MODEL} {version}" in refused
    assert [one["state"] for one in platform.github.statuses] == ["failure"]
    platform.lab.validate(MODEL, version)
    platform.release(version)
    assert platform.preview()
    (passes,) = platform.github.of(PREVIEWED, ACTIONS)
    assert f"{MODEL}: version {SERVED} -&#62; {version} passes" in passes
    assert [one["state"] for one in platform.github.statuses] == ["failure", "success"]


def test_a_proposal_and_a_rollback_are_pull_requests_of_one_line(platform: Platform) -> None:
    assert platform.by_hand("propose", model=MODEL, version=str(NEXT))
    (pull,) = platform.github.pulls
    assert f"version {SERVED} -&#62; {NEXT} passes" in pull["body"]
    assert platform.proposed == f"-{line(SERVED)}\n+{line(NEXT)}"
    platform.release(NEXT, merged=True)
    assert platform.by_hand("rollback", endpoint=MODEL, how="pull-request")
    assert platform.proposed == f"-{line(NEXT)}\n+{line(SERVED)}"
