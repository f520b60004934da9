"""Releases by pull request on the lab: the real workflows in `act`, the real commands, engine, cluster and MLflow, and
a GitHub that compares each request with GitHub's own description of its API.

The workflows run for the stack `local`, whose file is in the repository here. Each job installs the checkout with
`.ci/setup`, as on GitHub. `act` does not judge what GitHub decides: events and path filters, permissions of tokens,
environments and their approvals, concurrency, OIDC. tests/workflows/test_workflows.py reads these in the files. The
actions for checkout, credentials of AWS and the App's token only record their call; variables of the environment
replace what they give: the lab's kubeconfig, state of Pulumi, and keys of the artifact store.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import dataset, paths, stores
from lab.cluster import forward
from lab.engine import engine_environment
from tests.e2e.conftest import ENDPOINT, ROOT, Platform, wait_for
from tests.e2e.load import load
from tests.mlflow_server import Server
from tests.pull_requests.github_double import ACTIONS, APP, NAME, GitHub, serve
from tests.workflows import act

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
MLOPS = Path(sys.executable).parent / "mlops"
FILE = "Pulumi.local.yaml"
NUMBER = 7
REQUESTS = 5000
CUSTOMERS = dataset.customers(3)
WHO = {"user.name": "ada", "user.email": "ada@example.com", "commit.gpgsign": "false"}
SCHEDULE = ("cronjob/churn-validation", "-n", "ml-training")


@dataclass(frozen=True)
class Project:
    """Repository on GitHub whose stack is the lab's, and a person's clone of it."""

    platform: Platform
    github: GitHub
    clone: Path

    def git(self, *words: str) -> str:
        """Run git in the clone, and return what it prints."""
        who = [word for name, value in WHO.items() for word in ("-c", f"{name}={value}")]
        done = subprocess.run(["git", *who, *words], cwd=self.clone, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def push(self, branch: str, message: str) -> None:
        """Commit all files of the clone, and push the commit to a branch on GitHub."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        self.git("push", "--quiet", str(self.github.git_folder), f"HEAD:refs/heads/{branch}")
        self.git("update-ref", f"refs/remotes/origin/{branch}", "HEAD")

    def merge(self, branch: str) -> tuple[str, str]:
        """Merge a branch of GitHub into main with a merge commit, and return main before and after."""
        before = self.github.tip("main")
        self.git("fetch", "--quiet", str(self.github.git_folder), "main", f"{branch}:refs/remotes/origin/{branch}")
        self.git("checkout", "--quiet", "main")
        self.git("merge", "--quiet", "--no-ff", "--message", f"Merge {branch}", f"origin/{branch}")
        self.push("main", "Nothing else")
        return before, self.github.tip("main")

    @property
    def version(self) -> int:
        """Version in the clone's stack file."""
        return yaml.safe_load((self.clone / FILE).read_text())["config"]["mlops:endpoints"][ENDPOINT]["version"]

    def changed_lines(self, branch: str) -> list[str]:
        """Return the lines that a branch changes, in all files."""
        lines = self.github.git("diff", "--unified=0", f"main...{branch}").splitlines()
        return [line for line in lines if line[:1] in {"-", "+"} and line[:3] not in {"---", "+++"}]

    def preview(self) -> bool:
        """Run the workflow of a pull request for the pushed commit, and return whether it is green."""
        head = {"sha": self.git("rev-parse", "HEAD"), "ref": "release", "repo": {"full_name": NAME}}
        pull = {"number": NUMBER, "head": head, "base": {"ref": "main"}}
        return self.run("preview", "pull_request", {"number": NUMBER, "pull_request": pull})

    def run(
        self, workflow: str, event: str, payload: Mapping[str, Any], variables: Mapping[str, str] | None = None
    ) -> bool:
        """Run a workflow for the clone's commit, and return whether it is green."""
        engine = {name: value for name, value in engine_environment().items() if name.startswith("PULUMI_")}
        store = {name: value for name, value in stores.environment().items() if name != "MLFLOW_TRACKING_URI"}
        done = act.start(
            workflow,
            event,
            payload,
            repository=self.clone,
            variables={
                "AWS_REGION": stores.REGION,
                "KUBECONFIG": str(paths.kubeconfig()),
                "MLFLOW_TRACKING_URI": forward.urls()["mlflow"],
                "PULUMI_BACKEND_URL": engine.pop("PULUMI_BACKEND_URL"),
                "STACK": "local",
                **(variables or {}),
            },
            environment={
                **engine,
                **store,
                "CALLS": str(self.clone.parent / "calls"),
                "GITHUB_API_URL": self.github.address,
                "GITHUB_GRAPHQL_URL": f"{self.github.address}/graphql",
                "KUBECONFIG": str(paths.kubeconfig()),
            },
            token="ghs_actions",
            app_token="ghs_app",
        )
        print(done.stdout, done.stderr)
        return done.returncode == 0


@pytest.fixture
def project(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Repository with the files of this checkout, and the lab's stack with a strict gate.

    Afterwards the lab serves again what it served before.
    """
    platform.lab("up", timeout=3000)  # another test may have deleted the registry
    monkeypatch.setenv("PATH", os.pathsep.join([os.environ["PATH"], str(paths.binaries())]))
    clone = tmp_path / "clone"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    (clone / ".gitignore").write_text("".join(f"{line}\n" for line in _ignored() if line != f"/{FILE}"))
    stack = (platform.root / FILE).read_text()
    (clone / FILE).write_text(stack.replace("\nconfig:\n", "\nconfig:\n  mlops:gate: {mode: fail}\n"))
    for workflow in ("preview", "deploy", "propose", "rollback"):
        act.write_workflow(workflow, clone)
    with serve(tmp_path) as github:
        made = Project(platform, github, clone)
        made.git("init", "--quiet", "--initial-branch", "main")
        made.git("remote", "add", "origin", f"https://github.com/{NAME}")
        made.push("main", "Platform")
        platform.kubectl("patch", *SCHEDULE, "--patch", '{"spec": {"suspend": true}}')
        try:
            yield made
        finally:
            platform.kubectl("patch", *SCHEDULE, "--patch", '{"spec": {"suspend": false}}')
            platform.up()


def _ignored() -> list[str]:
    return (ROOT / ".gitignore").read_text().splitlines()


def mlops(*words: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> str:
    """Run a command of a person, who uses the lab, and return what it prints."""
    cleared = {name: value for name, value in os.environ.items() if name not in {"KUBECONFIG", "MLFLOW_TRACKING_URI"}}
    done = subprocess.run(
        [MLOPS, *words], cwd=cwd, env={**cleared, **(environment or {})}, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, f"mlops {' '.join(words)} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def served_by(platform: Platform) -> int:
    return int(platform.predict(CUSTOMERS).headers["X-Model-Version"])


def test_a_version_is_red_until_it_is_validated_goes_live_without_a_lost_request_and_comes_back(
    project: Project,
) -> None:
    platform, github = project.platform, project.github
    former = served_by(platform)
    assert former == project.version
    mlops("train", "churn", "N_ESTIMATORS=30", "--no-validate")
    version = max(platform.versions())

    project.git("checkout", "--quiet", "-b", "release")
    mlops("release", ENDPOINT, str(version), "--stack", "local", cwd=project.clone)
    project.push("release", f"Release {version}")
    assert not project.preview()
    (refused,) = github.comments
    assert refused["user"]["id"] == ACTIONS.id
    assert (
        f"{ENDPOINT}: version {former} -&#62; {version} is refused because version {version} was not validated"
        in refused["body"]
    )
    assert f"mlops validate {ENDPOINT} {version}" in refused["body"]
    assert github.statuses[-1]["state"] == "failure"

    mlops("validate", ENDPOINT, str(version))
    project.push("release", "Validated")
    assert project.preview()
    (passes,) = github.comments
    assert passes["id"] == refused["id"]
    assert f"{ENDPOINT}: version {former} -&#62; {version} passes" in passes["body"]
    assert "is refused" not in passes["body"]
    assert (github.statuses[-1]["state"], github.statuses[-1]["sha"]) == ("success", github.tip("release"))
    assert served_by(platform) == former

    before, after = project.merge("release")
    with load(platform.endpoint_url(), {"dataframe_records": CUSTOMERS}) as answers:
        assert project.run("deploy", "push", {"before": before, "after": after, "ref": "refs/heads/main"})
        wait_for("an answer of the new version", lambda: answers.latest == str(version), seconds=60)
        wait_for(f"{REQUESTS} answers", lambda: len(answers.all) >= REQUESTS, seconds=120)
    print(f"release {former} -> {version}: {dict(answers.by_version)}, failures {answers.failures[:5]}")
    assert answers.failures == []
    assert set(answers.by_version) == {str(former), str(version)}

    with load(platform.endpoint_url(), {"dataframe_records": CUSTOMERS}) as answers:
        assert project.run("rollback", "workflow_dispatch", {"inputs": {"endpoint": ENDPOINT, "how": "direct"}})
        wait_for("an answer of the former version", lambda: answers.latest == str(former), seconds=60)
    print(f"rollback {version} -> {former}: {dict(answers.by_version)}, failures {answers.failures[:5]}")
    assert answers.failures == []
    assert_one_line(project, version, former)


def test_a_version_of_another_registry_becomes_a_pull_request_of_one_line(project: Project, tmp_path: Path) -> None:
    table, registry = tmp_path / "churn.csv", Server(tmp_path / "registry")
    dataset.churn_table().to_csv(table, index=False)
    registry.folder.mkdir()
    registry.start()
    try:
        mlops("train", "churn", "N_ESTIMATORS=20", "--data", str(table), "--tracking-uri", registry.uri)
        inputs = {"model": ENDPOINT, "version": "1"}
        assert project.run("propose", "workflow_dispatch", {"inputs": inputs}, {"COPY_FROM": registry.uri})
    finally:
        registry.kill()
    copied = max(project.platform.versions())
    pull = assert_one_line(project, project.version, copied)
    assert f"Version {copied} is a copy of version 1 at" in pull["body"]
    assert f"version {copied} was not validated" in pull["body"]


def assert_one_line(project: Project, old: int, new: int) -> Mapping[str, Any]:
    """Fail unless the App has one pull request and it changes nothing but the version; return the pull request."""
    (pull,) = project.github.pulls
    assert pull["user"]["id"] == APP.id
    removed, added = project.changed_lines(pull["head"]["ref"])
    assert (removed.split(), added.split()) == (["-", "version:", str(old)], ["+", "version:", str(new)])
    return pull
