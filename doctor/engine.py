"""Checks of the Pulumi engine: its version, its plugins, the state of the stack, and the secrets in the stack file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from doctor.findings import Finding, UncheckedError, ok, problem, warning
from doctor.stack_file import Stack
from runs.cluster import last_line

SECONDS = 25
"""Time limit in seconds of one command."""
PLUGINS: Mapping[str, Sequence[str]] = {"aws": ("aws", "kubernetes"), "local": ("kubernetes",)}
"""Plugins of each kind of foundation."""


class EngineError(Exception):
    """The engine refused a command. The message is its last line."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Runs commands of pulumi that only read."""

    folder: Path
    """Folder of the project."""
    environment: Mapping[str, str]
    """Environment variables of the engine."""

    def ask(self, *words: str) -> str:
        """Return what `pulumi WORDS` prints.

        Raises:
            EngineError: the command failed.
            UncheckedError: pulumi is not on PATH, or did not end in time.
        """
        try:
            done = subprocess.run(
                ["pulumi", *words, "--non-interactive"], cwd=self.folder, env=self.environment, timeout=SECONDS,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise UncheckedError(f"pulumi {words[0]} did not end within {SECONDS} s", "look at the network") from error
        if done.returncode:
            raise EngineError(last_line(done.stderr).removeprefix("error: "))
        return done.stdout


def engine(pulumi: Engine) -> Iterator[Finding]:
    """Check that the engine is on PATH, in the version of its Python SDK."""
    try:
        found = pulumi.ask("version").strip().removeprefix("v")
    except FileNotFoundError:
        yield problem(
            "pulumi is not on PATH",
            "it makes every preview and update",
            "install it: https://www.pulumi.com/docs/install/",
        )
        return
    sdk = version("pulumi")
    if _minor(found) != _minor(sdk):
        yield warning(
            f"the engine is {found}, and the Python SDK {sdk}",
            "hooks of the SDK may need functions that another engine lacks",
            f"run curl -fsSL https://get.pulumi.com | sh -s -- --version {sdk}",
        )
    yield ok(f"engine {found}")


def _minor(text: str) -> list[str]:
    return text.split(".")[:2]


def plugins(pulumi: Engine, stack: Stack) -> Iterator[Finding]:
    """Check that the installed plugins have the versions of their Python SDKs."""
    there = dict[str, list[str]]()
    for each in json.loads(pulumi.ask("plugin", "ls", "--json")):
        there.setdefault(each["name"], []).append(str(each.get("version") or ""))
    for name in PLUGINS[stack.settings.foundation.kind]:
        wanted, found = version(f"pulumi-{name}"), there.get(name, [])
        install = f"run pulumi plugin install resource {name} {wanted}"
        if wanted in found:
            yield ok(f"plugin {name} {wanted}")
        elif pulumi.environment.get("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"):
            yield problem(
                f"plugin {name} {wanted} is not installed; installed: {', '.join(found) or 'none'}",
                "the engine does not download it, because PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION is set",
                install,
            )
        else:
            yield ok(f"plugin {name} {wanted} is not installed yet; the next preview downloads it")


def backend(pulumi: Engine) -> Iterator[Finding]:
    """Check that the engine reaches the store of the states."""
    try:
        found: Mapping[str, Any] = json.loads(pulumi.ask("whoami", "--verbose", "--json"))
    except EngineError as error:
        yield problem(
            f"the state backend does not respond: {error}",
            "without the state, pulumi knows no resource of any stack",
            "run pulumi login URL, as in pulumi login 's3://BUCKET?region=REGION&awssdk=v2' (bootstrap/: pulumi stack "
            "output state_url)",
        )
        return
    yield ok(f"{found.get('url')} as {found.get('user')}")


def state(pulumi: Engine, stack: Stack) -> Iterator[Finding]:
    """Check that the stack exists in the backend, and that no update of it is in progress."""
    found = {each["name"].rpartition("/")[2]: each for each in json.loads(pulumi.ask("stack", "ls", "--json"))}
    own: Mapping[str, Any] | None = found.get(stack.name)
    if own is None:
        kind = stack.settings.foundation.kind
        more = f' --secrets-provider="awskms://alias/pulumi?region={stack.region}"' if kind == "aws" else ""
        more += " (in the lab: mlops lab up)" if kind == "local" else ""
        yield problem(
            f"the backend has no stack {stack.name}; it has {', '.join(found) or 'none'}",
            "pulumi can neither preview nor deploy it",
            f"run pulumi stack init {stack.name}{more}",
        )
        return
    if own.get("updateInProgress"):
        yield warning(
            f"an update of {stack.name} is in progress, or was killed",
            "another update has to wait",
            f"wait, or run pulumi cancel --stack {stack.name} if no update runs",
        )
    yield ok(f"{own.get('resourceCount', 0)} resources, last update {own.get('lastUpdate', 'never')}")


def secrets(stack: Stack) -> Iterator[Finding]:
    """Check that the stack file has every secret."""
    for key in stack.missing_secrets:
        yield problem(
            f"{stack.file.name} lacks the secret mlops:{key}",
            "pulumi refuses to preview and to deploy",
            f'run pulumi config set --stack {stack.name} --secret mlops:{key} "$(openssl rand -hex 24)"',
        )
    if not stack.missing_secrets:
        yield ok("the stack file has every secret")
