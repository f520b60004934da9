"""Workflows run for real by `act` on this machine, with stub programs and actions that record how they are called."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.projects import CHECKOUT

REPOSITORY = "octo-org/platform"
PROGRAMS = "aws docker mlops pulumi"
PROGRAM = '''#!{python}
"""Stub: records its command line, and acts as CODES, a JSON of command -> exit code, says."""
import json, os, pathlib, sys

name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
if [name, *words] == ["pulumi", "version"]:
    print("v3.0.0")
    sys.exit()
code = json.loads(os.environ["CODES"]).get(f"{{name}} {{words[0]}}", 0)
option = dict(zip(words, words[1:]))
if name == "mlops" and "--out" in option and code in (0, 3):
    pathlib.Path(option["--out"]).write_text("the report\\n")
if [name, *words[:2]] == ["pulumi", "stack", "output"]:
    print("echo found > kubeconfig")
if [name, *words[:1]] == ["docker", "inspect"]:
    print(words[-1].partition(":")[0] + "@sha256:" + 64 * "a")
call = {{"words": [name, *words], "environment": dict(os.environ)}}
if name == "mlops" and "--file" in option:
    call["text"] = pathlib.Path(option["--file"]).read_text()
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(call) + "\\n")
sys.exit(code)
'''


@dataclass(frozen=True)
class Call:
    """Call of a program, or of an action under its name without the commit."""

    words: Sequence[str]
    environment: Mapping[str, str]
    text: str = ""
    """Content of the file that `--file` names."""

    @property
    def line(self) -> str:
        """Command line."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Outcome:
    """Finished run of a workflow."""

    succeeded: bool
    calls: Sequence[Call]
    output: str

    @property
    def lines(self) -> list[str]:
        """Command lines of all calls, in their order."""
        return [call.line for call in self.calls]


def run(
    workflow: str,
    event: str,
    payload: Mapping[str, Any],
    *,
    into: Path,
    variables: Mapping[str, str],
    codes: Mapping[str, int] | None = None,
) -> Outcome:
    """Run a workflow with stub programs. `codes` has exit codes of theirs and of make, as in {"mlops preview": 3}."""
    calls, repository = into / "calls", into / "repository"
    calls.touch()
    _write_stubs(repository, (codes or {}).get("make", 0))
    write_workflow(workflow, repository)
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["remote", "add", "origin", f"https://github.com/{REPOSITORY}"],
        ["add", "--all"],
        ["-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message", "all"],
    ):
        subprocess.run(["git", *command], cwd=repository, check=True)
    environment = {"CALLS": str(calls), "CODES": json.dumps(codes or {})}
    done = start(workflow, event, payload, repository=repository, variables=variables, environment=environment)
    made = [Call(**json.loads(line)) for line in calls.read_text().splitlines()]
    return Outcome(done.returncode == 0, made, done.stdout + done.stderr)


def start(
    workflow: str,
    event: str,
    payload: Mapping[str, Any],
    *,
    repository: Path,
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    token: str = "of-the-job",
    app_token: str = "of-the-app",
    job: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a workflow of a repository with act, without a container; steps run in a copy of the repository.

    Args:
        workflow: name of the workflow, which `write_workflow` wrote.
        event: name of the event.
        payload: what GitHub sends with the event, but for the repository.
        repository: folder with a git repository whose remote `origin` is on GitHub. Files of act come beside it.
        variables: configuration variables of GitHub, `vars`.
        environment: environment variables of all steps. CALLS is the file where the doubles of actions record.
        token: GitHub's token of the jobs.
        app_token: token that the App gets.
        job: the only job to run, with those that it needs; None: all jobs.
    """
    into = repository.parent
    (into / "event.json").write_text(json.dumps({**payload, "repository": {"full_name": REPOSITORY}}))
    return subprocess.run(
        [
            "act",
            event,
            *("--workflows", f".github/workflows/{workflow}.yml"),
            *("--platform", "ubuntu-latest=-self-hosted", "--concurrent-jobs", "1"),
            *("--eventpath", str(into / "event.json"), "--action-cache-path", str(into / "cache")),
            *("--secret", f"GITHUB_TOKEN={token}", "--secret", "APP_PRIVATE_KEY=of-the-app"),
            *(("--job", job) if job else ()),
            *(word for name, value in environment.items() for word in ("--env", f"{name}={value}")),
            *(word for name, value in variables.items() for word in ("--var", f"{name}={value}")),
            *(word for each in _actions(into / "actions", app_token) for word in ("--local-repository", each)),
        ],
        cwd=repository,
        # CI of this project may itself be a job on GitHub.
        env={name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "RUNNER_"))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def write_workflow(name: str, repository: Path) -> None:
    """Write a workflow of this checkout into a repository, without a key that act 0.2.89 does not know."""
    lines = (CHECKOUT / f".github/workflows/{name}.yml").read_text().splitlines()
    file = repository / f".github/workflows/{name}.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(line for line in lines if not line.strip().startswith("queue: max")))


def _write_stubs(repository: Path, code: int) -> None:
    """Write the real `.ci` into a repository, and a Makefile that installs stub programs or ends with another code."""
    shutil.copytree(CHECKOUT / ".ci", repository / ".ci")
    (repository / "pyproject.toml").write_text('dependencies = [\n  "pulumi==3.0.0",\n]\n')
    (repository / "stub").write_text(PROGRAM.format(python=sys.executable))
    (repository / "stub").chmod(0o755)
    (repository / "Makefile").write_text(
        f".venv/.ready:\n\texit {code}\n\tmkdir -p .venv/bin\n"
        f"\tfor name in {PROGRAMS}; do cp stub .venv/bin/$$name; done\n"
    )


def _actions(folder: Path, app_token: str) -> list[str]:
    """Write a double of each action that the workflows use, and return act's arguments that replace the actions."""
    workflows = [yaml.safe_load(path.read_text()) for path in (CHECKOUT / ".github/workflows").glob("*.yml")]
    jobs = [job for workflow in workflows for job in workflow["jobs"].values()]
    steps = [step for job in jobs for step in job["steps"] if "uses" in step]
    for step in steps:
        action, inputs = step["uses"].partition("@")[0], sorted(step.get("with", {}))
        double = folder / action / "action.yml"
        double.parent.mkdir(parents=True, exist_ok=True)
        record: dict[str, Any] = {
            "words": [action, *(f"{name}=${{{{ inputs.{name} }}}}" for name in inputs)],
            "environment": {},
        }
        double.write_text(
            yaml.safe_dump(
                {
                    "name": action,
                    "inputs": {name: {} for name in inputs},
                    "outputs": {"token": {"value": app_token}},
                    "runs": {
                        "using": "composite",
                        "steps": [
                            {
                                "shell": "bash",
                                "env": {"RECORD": json.dumps(record)},
                                "run": 'echo "$RECORD" >> "$CALLS"',
                            }
                        ],
                    },
                }
            )
        )
    return sorted({f"{step['uses']}={folder / step['uses'].partition('@')[0]}" for step in steps})
