"""The stack `local` of this checkout: its file, its secrets, and the engine that deploys it."""

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

from lab import paths
from lab.commands import LAST_LINES
from lab.errors import LabError
from lab.files import write
from lab.recovery import STACK, checkpoint, working_engine

SECRETS = ("database_password", "artifact_store_access_key", "artifact_store_secret_key")
SALT = re.compile(r"(?m)^encryptionsalt: *(\S+)\n?")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The stack as the checkout describes it. Its secrets belong to the lab: every clone deploys the same platform."""

    checkout: Path
    say: Callable[[str], None] = print

    @property
    def file(self) -> Path:
        """The stack's configuration in the checkout; git ignores it."""
        return self.checkout / f"Pulumi.{STACK}.yaml"

    @cached_property
    def _engine(self) -> automation.Stack:
        """The stack, which exists and is selected in this checkout."""
        return automation.create_or_select_stack(STACK, work_dir=str(self.checkout))

    def prepare(self) -> None:
        """The stack exists and is selected in this checkout, and its file is there.

        An existing file stays as it is. A clone without one gets what was deployed last, so that it neither rolls back
        nor trains again; the very first one gets the template.
        """
        salt = checkpoint().get("secrets_providers", {}).get("state", {}).get("salt")
        self._set_strangers_file_aside(salt)
        fresh = not self.file.exists()
        if fresh:
            shutil.copy(self.checkout / "lab" / self.file.name, self.file)
        if salt and not SALT.search(self.file.read_text()):
            self.file.write_text(f"{self.file.read_text().rstrip()}\nencryptionsalt: {salt}\n")
        if self._engine.history(page_size=1, show_secrets=False) and fresh:
            self._engine.refresh_config()

    def set(self, values: Mapping[str, object]) -> None:
        """The file holds `values` (path below `mlops:` to value) and all secrets; the rest stays, comments too."""
        config = self.config()
        plain = {path: ConfigValue(str(value)) for path, value in values.items() if _at(config, path) != value}
        missing = {name: ConfigValue(value, True) for name, value in _secrets().items() if name not in config}
        if plain or missing:
            self._engine.set_all_config(
                {f"mlops:{path}": value for path, value in (plain | missing).items()}, path=True
            )

    def config(self) -> dict[str, Any]:
        """The stack's configuration below `mlops:`; a secret is text."""
        return {
            name.removeprefix("mlops:"): value.value if value.secret else json.loads(value.value)
            for name, value in self._engine.get_all_config().items()
            if name.startswith("mlops:")
        }

    def up(self, *, exclude: Sequence[str], replace: Sequence[str], log: Path, line: Callable[[str], None]) -> str:
        """Deploy, with all that the engine says in `log`. Return what changed: `3 create, 1 update`, `nothing changed`.

        LabError with the engine's own errors when it fails.
        """
        errors, changes = list[str](), dict[str, int]()

        def note(event: EngineEvent) -> None:
            if (told := event.diagnostic_event) and told.severity == "error":
                errors.append(f"{_subject(told.urn)}: {told.message.strip()}")
            if event.summary_event:
                changes.update({str(what): n for what, n in event.summary_event.resource_changes.items()})

        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", buffering=1) as file, ThreadPoolExecutor(1) as beside:

            def tell(text: str) -> None:
                file.write(f"{text}\n")
                line(text)

            work = beside.submit(
                self._engine.up, exclude=list(exclude), replace=list(replace), color="never", show_secrets=False,
                on_output=tell, on_error=tell, on_event=note,
            )  # fmt: skip
            try:
                work.result()
            except KeyboardInterrupt:
                self._interrupt()
                raise
            except automation.CommandError as error:
                why = errors or str(error).splitlines()[-LAST_LINES:]
                raise LabError("\n".join([*why, f"All that the engine said is in {log}."])) from None
        return ", ".join(f"{n} {what}" for what, n in changes.items() if what != "same") or "nothing changed"

    def refresh(self) -> None:
        """The record is as the cluster is. Creations that no engine confirmed are forgotten."""
        self._engine.refresh(clear_pending_creates=True, show_secrets=False)

    def _interrupt(self) -> None:
        """The engine ends in order. A terminal's Ctrl-C reached it already, and a second one would make it give up."""
        if (engine := working_engine()) and not sys.stdin.isatty():
            os.kill(engine, signal.SIGINT)

    def _set_strangers_file_aside(self, salt: str | None) -> None:
        """A file whose secrets nobody can read any more is of a lab that was wiped; so are the versions it names."""
        if not self.file.exists() or (found := SALT.search(self.file.read_text())) is None or found[1] == salt:
            return
        aside = self.file.with_suffix(".yaml.old")
        self.file.replace(aside)
        self.say(f"{self.file.name} was of a lab that is gone; it is kept as {aside.name}, and a new one is made.")


def _subject(urn: str | None) -> str:
    """Type and name of the resource that an error is about."""
    if not urn:
        return "error"
    _, _, kind, name = urn.split("::", 3)
    return f"{kind.rpartition('$')[2]} {name}"


def _secrets() -> dict[str, str]:
    """Made once for a lab: Postgres and the gateway keep them in their volumes."""
    if not paths.secrets().exists():
        write(paths.secrets(), json.dumps({name: secrets.token_hex(16) for name in SECRETS}))
    return json.loads(paths.secrets().read_text())


def _at(config: Mapping[str, Any], path: str) -> object:
    """The value at a dotted path; None where there is none."""
    head, _, rest = path.partition(".")
    value = config.get(head)
    return _at(value or {}, rest) if rest else value
