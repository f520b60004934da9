"""Pulumi projects for the real engine, with the test's own home folder, state and plugins."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from lab import paths
from tests.engine.recording.values import section

CHECKOUT = Path(__file__).parent.parent
STACK = "test"


@dataclass(frozen=True)
class Step:
    """Operation of the engine on one resource; `diff` maps property paths to `add`, `update-replace`, ..."""

    op: str
    type: str
    name: str
    diff: Mapping[str, str]
    old: Mapping[str, Any]
    new: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """Request to a recording plugin; secret values are `{"secret": ...}`, unknown values `<unknown>`."""

    method: str
    about: str
    inputs: Mapping[str, Any]
    preview: bool

    @property
    def name(self) -> str:
        """Name of the resource or function."""
        return self.about.rpartition("::")[2]


@dataclass(frozen=True)
class Run:
    """Finished command of the engine."""

    succeeded: bool
    output: str
    events: list[dict[str, Any]]
    requests: list[Request]

    @property
    def outputs(self) -> Mapping[str, Any]:
        """Outputs of the stack, as the engine prints them."""
        ends = [event["resOutputsEvent"]["metadata"] for event in self.events if "resOutputsEvent" in event]
        stacks = [section(end, "new", "outputs") for end in ends if end["type"] == "pulumi:pulumi:Stack"]
        return stacks[-1] if stacks else {}

    @property
    def steps(self) -> list[Step]:
        """Operations on all resources but the stack itself."""
        begun = [event["resourcePreEvent"]["metadata"] for event in self.events if "resourcePreEvent" in event]
        ended = [event["resOutputsEvent"]["metadata"] for event in self.events if "resOutputsEvent" in event]
        refreshed = any(each["op"] == "refresh" for each in begun)  # only the last event has the result of a refresh
        found = ended if refreshed else begun
        return [
            Step(
                op=each["op"],
                type=each["type"],
                name=each["urn"].rpartition("::")[2],
                diff={path: entry["diffKind"] for path, entry in section(each, "detailedDiff").items()},
                old=each.get("old") or {},
                new=each.get("new") or {},
            )
            for each in found
            if each["type"] != "pulumi:pulumi:Stack"
        ]

    @property
    def changes(self) -> dict[str, list[str]]:
        """Operations by name of the resource, without unchanged resources."""
        found: dict[str, list[str]] = {}
        for step in self.steps:
            if step.op != "same" and not step.type.startswith("pulumi:"):
                found.setdefault(step.name, []).append(step.op)
        return found

    def step(self, name: str, op: str) -> Step:
        """Return the only step of that name and operation."""
        (found,) = [step for step in self.steps if (step.name, step.op) == (name, op)]
        return found

    def messages(self, severity: str = "error") -> str:
        """Return all messages of one severity (`error`, `warning`, `info`), one after the other."""
        found = [event["diagnosticEvent"] for event in self.events if "diagnosticEvent" in event]
        return "\n".join(each["message"].strip() for each in found if each["severity"].startswith(severity))


@dataclass
class Project:
    """Pulumi program with one stack."""

    folder: Path
    environment: dict[str, str]
    arguments: tuple[str, ...] = ()

    @property
    def recording(self) -> Path:
        """File to which recording plugins write."""
        return Path(self.environment["MLOPS_RECORDING"])

    def write(self, program: str) -> None:
        """Write the program of the project."""
        (self.folder / "__main__.py").write_text(dedent(program))

    def configure(self, name: str, value: str, *, secret: bool = False) -> None:
        """Set a key of the stack's configuration."""
        self.pulumi("config", "set", name, value, *(["--secret"] if secret else []))

    def preview(self, *arguments: str) -> Run:
        """Run `pulumi preview`."""
        return self.run("preview", *arguments)

    def up(self, *arguments: str) -> Run:
        """Run `pulumi up` without a preview."""
        return self.run("up", "--yes", "--skip-preview", *arguments)

    def destroy(self, *arguments: str) -> Run:
        """Run `pulumi destroy` without a preview."""
        return self.run("destroy", "--yes", "--skip-preview", *arguments)

    def run(self, command: str, *arguments: str) -> Run:
        """Run an operation on the stack and record its events and requests."""
        for file in (self._events, self.recording):
            file.unlink(missing_ok=True)
        done = subprocess.run(
            ["pulumi", command, "--non-interactive", "--event-log", str(self._events), *arguments, *self.arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return self._finished(done.returncode, done.stdout)

    def state(self) -> list[dict[str, Any]]:
        """Return the resources in the stack's state, with encrypted secrets."""
        return json.loads(self.pulumi("stack", "export"))["deployment"].get("resources", [])

    def pulumi(self, *arguments: str) -> str:
        """Run any other command and return its output; a failure fails the test."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"pulumi {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def requests(self) -> list[Request]:
        """Return the requests to recording plugins during the last command."""
        lines = self.recording.read_text().splitlines() if self.recording.exists() else []
        entries = [json.loads(line) for line in lines]
        return [Request(each["method"], each["about"], each["inputs"], each.get("preview", False)) for each in entries]

    @property
    def _events(self) -> Path:
        return self.recording.with_suffix(".events")

    def _finished(self, status: int, output: str) -> Run:
        lines = self._events.read_text().splitlines() if self._events.exists() else []
        return Run(
            succeeded=status == 0,
            output=output,
            events=[json.loads(line) for line in lines],
            requests=self.requests(),
        )


@dataclass(frozen=True)
class Engine:
    """Pulumi engine with its own home folder, so that nothing of the user's is read or written."""

    home: Path
    variables: Mapping[str, str]

    def project(self, folder: Path, program: str, **variables: str) -> Project:
        """Create a project with a new stack; `variables` are added to the environment."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Pulumi.yaml").write_text("name: probe\nruntime: python\n")
        project = Project(folder, self._environment(folder, variables))
        project.write(program)
        project.pulumi("stack", "init", STACK)
        return project

    def our_program(
        self, folder: Path, stack: Mapping[str, Any], secrets: Mapping[str, str], **variables: str
    ) -> Project:
        """Create a stack of the repository's program; `stack` and `secrets` are its keys without `mlops:`."""
        folder.mkdir(parents=True, exist_ok=True)
        main = os.path.relpath(CHECKOUT / "infra", folder)
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "mlops", "runtime": "python", "main": main}))
        file = folder / f"Pulumi.{STACK}.yaml"
        file.write_text(yaml.safe_dump({"config": {f"mlops:{key}": value for key, value in stack.items()}}))
        project = Project(folder, self._environment(folder, variables))
        project.pulumi("stack", "init", STACK)
        for key, value in secrets.items():
            project.configure(f"mlops:{key}", value, secret=True)
        return project

    def tracked_stack(self, folder: Path, stack: str, secrets: Mapping[str, str], **variables: str) -> Project:
        """Create a stack of the repository's program with a copy of the repository's stack file."""
        folder.mkdir(parents=True, exist_ok=True)
        main = os.path.relpath(CHECKOUT / "infra", folder)
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "mlops", "runtime": "python", "main": main}))
        shutil.copy(CHECKOUT / f"Pulumi.{stack}.yaml", folder)
        project = Project(folder, self._environment(folder, variables))
        project.pulumi("stack", "init", stack)
        for key, value in secrets.items():
            project.configure(f"mlops:{key}", value, secret=True)
        return project

    def _environment(self, folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
        backend = folder / "state"
        backend.mkdir(exist_ok=True)
        path = os.pathsep.join([str(Path(sys.prefix) / "bin"), str(paths.binaries()), os.environ.get("PATH", "")])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "KUBE", "AWS_"))}
        return {
            **kept,
            "HOME": str(self.home),
            "PATH": path,
            "VIRTUAL_ENV": sys.prefix,
            "PULUMI_HOME": str(self.home),
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE": "of a test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DEBUG_COMMANDS": "true",  # for --event-log
            "MLOPS_RECORDING": str(folder / "requests.jsonl"),
            **self.variables,
            **variables,
        }
