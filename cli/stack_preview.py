"""Preview of a change to a stack: the report of `mlops preview`."""

import json as jsons
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, ValidationError
from rich.console import Console

from change_report import engine, stack_file
from change_report.markdown import markdown as as_markdown
from change_report.report import Base, Cost, EngineResult, Outcome, Report, make
from change_report.stack_file import Config, StackFileError
from change_report.terminal import show as show_in_terminal
from cli import target
from cli.errors import CommandError
from contract import project
from contract.exit_codes import ExitCode
from cost import budget
from cost.plan import PlanError
from cost.report import delta_of_document
from model_preview import reading
from model_preview.facts import Change, Unverified
from model_preview.packages import serving_image
from model_preview.preview import Preview, preview
from model_preview.verdict import needs_facts
from runs import preview as previews
from runs.drift import Object

MODEL_REPORT = "MLOPS_MODEL_REPORT"
"""Environment variable with the file into which the program writes the previews of models instead of failing."""
CODES = {Outcome.PASSES: ExitCode.DONE, Outcome.REFUSED: ExitCode.REFUSED, Outcome.UNVERIFIED: ExitCode.FAILED}
NO_SUCH_STACK = ("no stack named", "no stack selected")
POLICY_PACK = "policy"


def show(
    *, stack: str | None, base: str | None, models_only: bool, json: bool, markdown: bool, out: str | None
) -> ExitCode:
    """Make the report, print or write it, and return the exit code.

    Args:
        stack: Pulumi stack; None: the selected one.
        base: git ref to compare the stack file with.
        models_only: compare the two stack files, and run no engine.
        json: print or write JSON.
        markdown: print Markdown. With `out`, the file has Markdown unless `json` is true.
        out: file for the report; people then see it in the terminal too.

    Raises:
        CommandError: the command line or a stack file is wrong (BAD_INPUT), or the preview failed and no report was
            requested (FAILED).
    """
    if out:
        _check_file(Path(out))
    chosen = _Project(stack, models_only=models_only)
    try:
        compared = chosen.compared(base) if base else None
        report = chosen.models(compared) if models_only and compared else chosen.report(compared)
    except StackFileError as error:
        raise CommandError(str(error)) from error
    if out:
        _write(Path(out), report.model_dump_json(indent=1) if json else as_markdown(report))
    if (json or markdown) and not out:
        print(report.model_dump_json(indent=1) if json else as_markdown(report), end="")
        if report.outcome is not Outcome.PASSES:
            _say(report.line)
    elif report.outcome is Outcome.UNVERIFIED and report.errors and not out:
        raise CommandError("\n".join(report.errors), ExitCode.FAILED)
    else:
        show_in_terminal(Console(highlight=False), report)
    return CODES[report.outcome]


class _Compared:
    """Configuration in the stack file of the base and of the working tree."""

    def __init__(self, ref: str, before: Config, now: Config) -> None:
        self.before, self.now = before, now
        self.base = Base(ref=ref, keys=stack_file.changed_keys(before, now), releases=stack_file.releases(before, now))


class _Project:
    """Pulumi project around the working directory, and one of its stacks."""

    def __init__(self, stack: str | None, *, models_only: bool) -> None:
        here = Path.cwd()
        folder = project.root(here)
        if folder is None:
            raise CommandError(
                f"{here} is not in a Pulumi project, which has a Pulumi.yaml; run the command in a checkout"
            )
        self.folder = folder
        if not stack and models_only:
            raise CommandError(
                "--models-only runs no engine, so it does not know the selected stack; write --stack NAME"
            )
        self.stack = stack or target.selected_stack(folder)
        self.file = project.stack_file(folder, self.stack)

    def compared(self, ref: str) -> _Compared:
        """Return the stack file of the git ref and of the working tree. CommandError if one of them is missing."""
        if not self.file.is_file():
            known = project.stacks(self.folder)
            raise CommandError(f"there is no {self.file.name} in {self.folder}; stacks with a file: {known}")
        commit = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        if commit is None:
            branch = ref.removeprefix("origin/")
            raise CommandError(
                f"git has no commit {ref}; run `git fetch origin {branch}` first, or write another --base"
            )
        text = self._git("show", f"{commit.strip()}:./{self.file.name}")
        if text is None:
            raise CommandError(f"{ref} has no {self.file.name}; for a stack that is new, leave --base out")
        before = stack_file.read(text, f"{ref}:{self.file.name}")
        now = stack_file.read(self.file.read_text(encoding="utf-8", errors="replace"), self.file.name)
        return _Compared(ref, before, now)

    def models(self, compared: _Compared) -> Report:
        """Return the report about models alone, from the two stack files and MLflow."""
        changes = stack_file.releases(compared.before, compared.now, strict=True)
        gates = {name: stack_file.gate(compared.before, compared.now, name) for name in changes}
        asked = [change for name, change in changes.items() if needs_facts(change, gates[name])]
        facts = _facts(asked) if asked else None
        image = serving_image(self.folder / "requirements.lock")
        found = [
            preview(change, facts if change in asked else None, gates[name], image) for name, change in changes.items()
        ]
        return make(self.stack, found, base=compared.base)

    def report(self, compared: _Compared | None) -> Report:
        """Return the whole report, from a preview by the engine."""
        with tempfile.TemporaryDirectory(prefix="mlops-preview-") as folder:
            events, models = Path(folder, "events"), Path(folder, "models.json")
            result = self._preview(events, models)
            found, problem = _model_previews(models)
        result = replace(result, warnings=(*result.warnings, *problem))
        base = compared.base if compared else None
        return make(self.stack, found, result=result, cost=_cost(result), base=base)

    def _preview(self, events: Path, models: Path) -> EngineResult:
        pack, skipped = self._policy_pack()
        command = ["pulumi", *previews.arguments(*pack, "--event-log", str(events), stack=self.stack)]
        environment = {
            **target.engine(self.stack),
            MODEL_REPORT: str(models),
            "PULUMI_DEBUG_COMMANDS": "true",
        }  # for --event-log
        _say(f"previewing {self.stack}")
        start = time.monotonic()
        ended = previews.attempt(
            command, environment, waiting=lambda: _say(f"previewing {self.stack}: {_begun(events)} resources so far")
        )
        if not ended.document and any(words in ended.stderr for words in NO_SUCH_STACK):
            raise CommandError(f"Pulumi has no stack {self.stack}; `pulumi stack ls` lists those that exist")
        _say(f"previewed {_begun(events)} resources in {time.monotonic() - start:.0f} s")
        return EngineResult(
            document=ended.document or {},
            failed=ended.exit_code != 0 or ended.document is None,
            said=ended.stderr,
            events=_policy_events(events),
            warnings=skipped,
        )

    def _policy_pack(self) -> tuple[list[str], tuple[str, ...]]:
        """Return the options for the project's policy pack, and why there are none although it has one."""
        pack = self.folder / POLICY_PACK
        if not (pack / "PulumiPolicy.yaml").is_file():
            return [], ()
        if not _can_import("pulumi_policy"):
            return [], (f"the policy pack {POLICY_PACK} did not run; install it with `pip install pulumi-policy`",)
        return ["--policy-pack", str(pack)], ()

    def _git(self, *words: str) -> str | None:
        """Return what git prints; None if it fails."""
        try:
            done = subprocess.run(
                ["git", *words], cwd=self.folder, capture_output=True, encoding="utf-8", errors="replace", check=False
            )
        except FileNotFoundError as missing:
            raise CommandError("git is not on PATH, but --base needs it; install git", ExitCode.FAILED) from missing
        return done.stdout if done.returncode == 0 else None


class _ModelReport(BaseModel):
    previews: tuple[Preview, ...]


def _can_import(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # the module is blocked
        return False


def _facts(changes: list[Change]) -> reading.Facts | Unverified:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return Unverified(why="MLFLOW_TRACKING_URI is not set")
    return reading.read(uri, changes, token=os.environ.get("MLFLOW_TRACKING_TOKEN", ""))


def _model_previews(file: Path) -> tuple[Iterable[Preview], tuple[str, ...]]:
    """Return the previews that the program wrote, and why they cannot be read."""
    if not file.is_file():
        return (), ()
    try:
        return _ModelReport.model_validate_json(file.read_bytes()).previews, ()
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return (), (f"what the program wrote about models cannot be read ({place}: {first['msg']})",)


def _cost(result: EngineResult) -> Cost | None:
    """Return the change of the price; None if the preview is not complete."""
    if not result.document or engine.messages(result.document).errors:
        return None
    try:
        return Cost(delta=delta_of_document(result.document), budget=budget.of_document(result.document))
    except PlanError as problem:
        return Cost(delta=None, unknown=str(problem))


def _begun(events: Path) -> int:
    return sum('"resourcePreEvent"' in line for line in _lines(events))


def _policy_events(events: Path) -> list[Object]:
    """Return the events about policies; the others are in the engine's output too, or do not matter to a reviewer."""
    wanted = [line for line in _lines(events) if '"policyEvent"' in line or '"summaryEvent"' in line]
    return [event for line in wanted for event in [jsons.loads(line)] if isinstance(event, Mapping)]


def _lines(events: Path) -> list[str]:
    return events.read_text(errors="replace").splitlines() if events.is_file() else []


def _check_file(out: Path) -> None:
    """Raise CommandError if the report cannot become this file, before the preview takes its time."""
    try:
        if out.exists() and not out.is_file():
            raise CommandError(f"--out {out} is not a file; write the name of one")
    except OSError as error:
        raise _not_writable(out, error) from error
    if not out.parent.is_dir():
        raise CommandError(f"--out {out}: the folder {out.parent} does not exist; create it, or write another file")


def _write(out: Path, text: str) -> None:
    """Write the whole file or nothing."""
    unfinished = out.with_name(f".mlops-preview-{os.getpid()}")
    try:
        unfinished.write_text(text)
        unfinished.replace(out)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise _not_writable(out, error) from error


def _not_writable(out: Path, error: OSError) -> CommandError:
    return CommandError(f"--out {out} cannot be written ({error.strerror}); write another file")


def _say(text: str) -> None:
    print(f"mlops: {text}", file=sys.stderr)
