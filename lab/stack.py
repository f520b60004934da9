"""The stack `local` of this checkout: its file, its secrets, and the engine that deploys it."""

import json
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.commands import LAST_LINES, Commands
from lab.errors import LabError

PROJECT, NAME = "mlops", "local"
SECRETS = ("database_password", "artifact_store_access_key", "artifact_store_secret_key")
SALT = re.compile(r"(?m)^encryptionsalt: *(\S+)\n?")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What `pulumi --stack local` works on. Its secrets belong to the lab: every clone deploys the same platform."""

    checkout: Path
    state: Path
    environment: Mapping[str, str]
    commands: Commands
    say: Callable[[str], None] = field(default=print)

    @property
    def file(self) -> Path:
        """The stack's configuration in the checkout; git ignores it."""
        return self.checkout / f"Pulumi.{NAME}.yaml"

    def prepare(self) -> None:
        """The stack exists and is selected in this checkout, and its file is there.

        An existing file stays as it is. A clone without one gets what was deployed last, so that it neither rolls back
        nor trains again; the very first one gets the template.
        """
        salt = self._salt()
        self._set_strangers_file_aside(salt)
        fresh = not self.file.exists()
        if fresh:
            shutil.copy(self.checkout / "lab" / self.file.name, self.file)
        if salt and not SALT.search(self.file.read_text()):
            self.file.write_text(f"{self.file.read_text().rstrip()}\nencryptionsalt: {salt}\n")
        self.pulumi("stack", "select", NAME, "--create")
        if fresh and json.loads(self.pulumi("stack", "history", "--json", "--page-size", "1") or "[]"):
            self.pulumi("config", "refresh", "--force")

    def set(self, values: Mapping[str, object]) -> None:
        """The file holds `values` (path below `mlops:` to value) and all secrets; the rest stays, comments too."""
        config = self.config()
        plain = [f"--plaintext=mlops:{path}={value}" for path, value in values.items() if _at(config, path) != value]
        missing = [f"--secret=mlops:{name}={value}" for name, value in self._secrets().items() if name not in config]
        if plain or missing:
            self.pulumi("config", "set-all", "--path", *plain, *missing)

    def config(self) -> dict[str, Any]:
        """The stack's configuration below `mlops:`; a secret is None."""
        raw = json.loads(self.pulumi("config", "--json"))
        return {
            key.removeprefix("mlops:"): entry.get("objectValue", entry.get("value"))
            for key, entry in raw.items()
            if key.startswith("mlops:")
        }

    def secret(self, name: str) -> str:
        """One secret of the stack in clear."""
        return self.pulumi("config", "get", f"mlops:{name}").strip()

    def pulumi(self, *arguments: str) -> str:
        """What a short command of the engine answers."""
        return self.commands.answer(self._command(*arguments), env=self.environment, cwd=self.checkout)

    def up(self, *arguments: str, log: Path, line: Callable[[str], None]) -> str:
        """`pulumi up`, all it says in `log`; returns what it changed, as `3 created, 1 updated`, or `nothing changed`.

        LabError with the engine's own diagnosis when it fails.
        """
        command = self._command("up", "--yes", "--skip-preview", "--color", "never", *arguments)
        try:
            self.commands.watch(command, env=self.environment, cwd=self.checkout, log=log, line=line)
        except LabError:
            raise LabError(f"{diagnosis(log.read_text())}\nAll that the engine said is in {log}.") from None
        changes = re.findall(r"(?m)^ +[-+~]+ (\d+ (?:created|updated|deleted|replaced))", log.read_text())
        return ", ".join(changes) or "nothing changed"

    def _command(self, *arguments: str) -> Sequence[str]:
        named = () if arguments[:2] == ("stack", "select") else ("--stack", NAME)
        return ["pulumi", *arguments, *named, "--non-interactive"]

    def deployment(self) -> dict[str, Any] | None:
        """What the engine has on record of the stack; None when the lab has no such stack."""
        try:
            return json.loads(self.pulumi("stack", "export"))["deployment"]
        except LabError as error:
            if f"no stack named '{NAME}'" in str(error):
                return None
            raise

    def _salt(self) -> str | None:
        """Half of what encrypts the stack's secrets, as the lab has it on record; the passphrase is the other half."""
        provider = (self.deployment() or {}).get("secrets_providers", {})
        return provider.get("state", {}).get("salt")

    def _set_strangers_file_aside(self, salt: str | None) -> None:
        """A file whose secrets nobody can read any more is of a lab that was wiped; so are the versions it names."""
        if not self.file.exists() or (found := SALT.search(self.file.read_text())) is None or found[1] == salt:
            return
        aside = self.file.with_suffix(".yaml.old")
        self.file.replace(aside)
        self.say(f"{self.file.name} was of a lab that is gone; it is kept as {aside.name}, and a new one is made.")

    def _secrets(self) -> dict[str, str]:
        """Made once for a lab: Postgres and the gateway keep them in their volumes."""
        file = self.state / "secrets.json"
        if not file.exists():
            made = file.with_suffix(".new")
            made.touch(mode=0o600)
            made.write_text(json.dumps({name: secrets.token_hex(16) for name in SECRETS}))
            made.replace(file)
        return json.loads(file.read_text())


def diagnosis(output: str) -> str:
    """The errors in what `pulumi up` printed; its last lines where it names none."""
    _, found, rest = output.partition("Diagnostics:\n")
    report = re.split(r"(?m)^(?:Outputs|Resources|Duration|Policies):?", rest)[0] if found else ""
    lines = [line for line in report.splitlines() if line.strip() and "warning: " not in line]
    return "\n".join(lines or output.splitlines()[-LAST_LINES:])


def _at(config: Mapping[str, Any], path: str) -> object:
    """The value at a dotted path; None where there is none."""
    head, _, rest = path.partition(".")
    value = config.get(head)
    return _at(value or {}, rest) if rest else value
