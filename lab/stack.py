"""Stack `local` of this checkout: its file, its secrets and its engine."""

import json
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pulumi import automation
from pulumi.automation import ConfigValue, EngineEvent

from images.commands import LAST_LINES, output
from lab import paths
from lab.errors import LabError
from lab.files import write
from lab.recovery import STACK, checkpoint, working_engine

SECRETS = ("database_password", "artifact_store_access_key", "artifact_store_secret_key")
SALT = re.compile(r"(?m)^encryptionsalt: *(\S+)\n?")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Stack of a checkout. Its secrets belong to the lab, so every clone deploys the same platform."""

    checkout: Path
    say: Callable[[str], None] = print

    @property
    def file(self) -> Path:
        """Stack file in the checkout; git ignores it."""
        return self.checkout / f"Pulumi.{STACK}.yaml"

    @cached_property
    def _engine(self) -> automation.Stack:
        """Pulumi's stack, which is created if needed and selected."""
        return automation.create_or_select_stack(STACK, work_dir=str(self.checkout))

    def prepare(self) -> None:
        """Create and select the stack, and create its file.

        An existing file is kept. Without one, the file gets the settings of the last deployment, so that the next one
        neither rolls back nor trains again; before the first deployment, it is a copy of the template.
        """
        salt = checkpoint().get("secrets_providers", {}).get("state", {}).get("salt")
        self._move_foreign_file(salt)
        fresh = not self.file.exists()
        if fresh:
            shutil.copy(self.checkout / "lab" / self.file.name, self.file)
        if salt and not SALT.search(self.file.read_text()):
            self.file.write_text(f"{self.file.read_text().rstrip()}\nencryptionsalt: {salt}\n")
        if self._engine.history(page_size=1, show_secrets=False) and fresh:
            self._engine.refresh_config()

    def set(self, values: Mapping[str, object], secrets: Mapping[str, str] | None = None) -> None:
        """Set values (path below `mlops:` to value) in the file; other lines and comments stay.

        Of the lab's secrets, and of further `secrets`, it sets those that the file lacks.
        """
        config = self.config()
        plain = {path: ConfigValue(str(value)) for path, value in values.items() if _at(config, path) != value}
        if plain:
            self._engine.set_all_config({f"mlops:{path}": value for path, value in plain.items()}, path=True)
        wanted = {**_secrets(), **(secrets or {})}
        for name in wanted.keys() - config.keys():
            # Pulumi's Python library would put the secret on a command line, which every user can read.
            command = ["pulumi", "config", "set", "--secret", f"mlops:{name}", "--stack", STACK]
            output(command, cwd=self.checkout, stdin=wanted[name])

    def config(self) -> dict[str, Any]:
        """Return the stack's configuration below `mlops:`, with secrets as text."""
        return {
            name.removeprefix("mlops:"): value.value if value.secret else json.loads(value.value)
            for name, value in self._engine.get_all_config().items()
            if name.startswith("mlops:")
        }

    def up(self, *, exclude: Sequence[str], replace: Sequence[str], log: Path, line: Callable[[str], None]) -> str:
        """Deploy, and return a summary such as `3 create, 1 update` or `nothing changed`.

        The engine's output goes to `log`. LabError with the engine's errors if it fails.
        """
        errors, changes = list[str](), dict[str, int]()

        def note(event: EngineEvent) -> None:
            if (diagnostic := event.diagnostic_event) and diagnostic.severity == "error":
                errors.append(f"{_subject(diagnostic.urn)}: {diagnostic.message.strip()}")
            if event.summary_event:
                changes.update({str(what): n for what, n in event.summary_event.resource_changes.items()})

        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", buffering=1) as file, ThreadPoolExecutor(1) as pool:

            def show(text: str) -> None:
                file.write(f"{text}\n")
                line(text)

            work = pool.submit(
                self._engine.up, exclude=list(exclude), replace=list(replace), color="never", show_secrets=False,
                on_output=show, on_error=show, on_event=note,
            )  # fmt: skip
            try:
                work.result()
            except KeyboardInterrupt:
                self._interrupt()
                raise
            except automation.CommandError as error:
                why = errors or str(error).splitlines()[-LAST_LINES:]
                raise LabError("\n".join([*why, f"The engine's whole output is in {log}."])) from None
        return ", ".join(f"{n} {what}" for what, n in changes.items() if what != "same") or "nothing changed"

    def refresh(self) -> None:
        """Refresh the engine's record from the cluster, and drop pending creations."""
        self._engine.refresh(clear_pending_creates=True, show_secrets=False)

    def _interrupt(self) -> None:
        """Interrupt the engine, unless a terminal's Ctrl-C did; a second interrupt would make it stop at once."""
        if (engine := working_engine()) and not sys.stdin.isatty():
            os.kill(engine, signal.SIGINT)

    def _move_foreign_file(self, salt: str | None) -> None:
        """Rename the file of a lab that was wiped: its secrets cannot be read, and its versions do not exist."""
        if not self.file.exists() or (found := SALT.search(self.file.read_text())) is None or found[1] == salt:
            return
        aside = self.file.with_suffix(".yaml.old")
        self.file.replace(aside)
        self.say(f"{self.file.name} belongs to a lab that was wiped; it is now {aside.name}, and a new one is created.")


def _subject(urn: str | None) -> str:
    """Return type and name of the resource of an error."""
    if not urn:
        return "error"
    _, _, kind, name = urn.split("::", 3)
    return f"{kind.rpartition('$')[2]} {name}"


def _secrets() -> dict[str, str]:
    """Return the passwords. They are created once, because Postgres and the S3 gateway store them in their volumes."""
    if not paths.secrets().exists():
        write(paths.secrets(), json.dumps({name: secrets.token_hex(16) for name in SECRETS}))
    return json.loads(paths.secrets().read_text())


def _at(config: Mapping[str, Any], path: str) -> object:
    """Return the value at a dotted path, or None."""
    head, _, rest = path.partition(".")
    value = config.get(head)
    return _at(value or {}, rest) if rest else value
