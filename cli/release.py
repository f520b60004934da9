"""Function behind `mlops release`: another version of an endpoint in the stack file of this checkout."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

from cli import target
from cli.errors import CommandError, pull_request_errors
from contract import project
from contract.exit_codes import ExitCode
from contract.tags import MODEL_DIGEST
from model_preview import reading
from model_preview.facts import Change, Facts, Reference, Unverified
from pull_requests import history, stack_file
from pull_requests.stack_file import Entry, StackFile

CONTEXT = 2
"""Lines of the file that are shown before and after a change."""


def release(
    endpoint: str,
    version: int | None,
    stack: str | None,
    *,
    digest: str | None,
    tracking_uri: str | None,
    dry_run: bool,
) -> None:
    """Write the version into the stack file, and print the difference and the next step.

    Args:
        endpoint: name of the endpoint.
        version: number of the new version; None: the last version in the git history that differs from the present one.
        stack: name of the stack; None: the one that Pulumi has selected.
        digest: digest of the new version, which is written below it; None: that in MLflow, if the file needs one.
        tracking_uri: address of the stack's MLflow; None: as for the other commands.
        dry_run: change nothing.
    """
    name = stack or target.selected_stack(Path.cwd())
    path = locate(name)
    before = read(path)
    with pull_request_errors():
        entry = before.entry(endpoint)
        stated = stack_file.digest(digest) if digest else None
        if version is None:
            former = history.previous(path, entry)
            print(f"{endpoint}: version {former.entry.version} again, as in {former}")
            after = before.release(endpoint, former.entry.version, stated or former.entry.digest)
        else:
            if version == entry.version and stated in {None, entry.digest}:
                raise CommandError(f"{before.name}: {endpoint} has version {version} already; write another version")
            if stated is None and before.needs_digest(entry):
                stated = registered_digest(entry, version, tracking_uri)
            after = before.release(endpoint, version, stated)
    print(difference(before, after), end="")
    warn(entry, path.name)
    if dry_run:
        print(f"{path.name}: nothing was changed")
        return
    write(path, after)
    print(f"{path.name} is changed; next: {shlex.join(['pulumi', 'preview', '--stack', name])}")


def registered_digest(entry: Entry, version: int, tracking_uri: str | None) -> str:
    """Return the digest of the version from MLflow. CommandError if it is not known."""
    change = Change(endpoint=entry.endpoint, old=None, new=Reference(model=entry.model, version=version))
    try:
        uri = target.tracking(tracking_uri)
    except CommandError as error:
        return digest_in(Unverified(why=str(error)), entry, version)
    return digest_in(reading.read(uri, [change], token=os.environ.get("MLFLOW_TRACKING_TOKEN", "")), entry, version)


def digest_in(facts: Facts | Unverified | None, entry: Entry, version: int) -> str:
    """Return the digest of the version in the facts from MLflow, as a stack file has it. CommandError without one."""
    found = facts.versions.get((entry.model, version)) if isinstance(facts, Facts) else None
    if found and found.digest:
        return stack_file.digest(found.digest)
    why = facts.why if isinstance(facts, Unverified) else f"MLflow has no {entry.model} version {version} with this tag"
    raise CommandError(
        f"{entry.endpoint} needs the digest of version {version} in the stack file (tag {MODEL_DIGEST}), and it is not "
        f"known: {why}; write --digest",
        ExitCode.FAILED if isinstance(facts, Unverified) else ExitCode.BAD_INPUT,
    )


def difference(before: StackFile, after: StackFile) -> str:
    """Return the difference of two texts of a file, as `git diff` shows it."""
    old, new = (file.text.splitlines(keepends=True) for file in (before, after))
    return "".join(_lines(unified_diff(old, new, f"a/{before.name}", f"b/{after.name}", n=CONTEXT)))


def warn(entry: Entry, file: str) -> None:
    """Say which keys of the entry were written for the present version alone."""
    for key in entry.reasons:
        print(
            f"mlops: {file}: {entry.endpoint} has {key}, which was written for version {entry.version}; remove it, or "
            "write a reason for the new version",
            file=sys.stderr,
        )


def locate(stack: str) -> Path:
    """Return the stack file. CommandError if this folder has no Pulumi project, or the project no such file."""
    name = stack.rpartition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise CommandError(f"--stack {stack!r} is not the name of a stack; write one such as prod")
    here = Path.cwd()
    root = project.root(here)
    if root is None:
        raise CommandError(f"there is no Pulumi.yaml in {here} or above it; run the command in a checkout")
    file = project.stack_file(root, name)
    if not file.is_file():
        raise CommandError(f"{root} has no {file.name}; stacks with a file: {project.stacks(root)}")
    return file


def read(path: Path) -> StackFile:
    """Return the stack file with its line ends as they are."""
    try:
        return StackFile(path.name, path.read_bytes().decode())
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read ({error}); a stack file is text in UTF-8") from error


def write(path: Path, file: StackFile) -> None:
    """Replace the stack file. A killed command leaves the file before or the file after the change."""
    path = path.resolve()  # a link to the file stays a link
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(file.text.encode())
    shutil.copymode(path, new)
    new.replace(path)


def _lines(diff: Iterator[str]) -> Iterator[str]:
    for line in diff:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
