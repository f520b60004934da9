"""Function behind `mlops propose`: a pull request that changes the version of one endpoint."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from change_report.stack_file import is_protected
from cli import release, target
from cli.comment import run_url, tell
from cli.errors import CommandError, pull_request_errors, registry_errors
from contract.exit_codes import ExitCode
from contract.tags import PROPOSED
from model_preview import images, packages, reading
from model_preview.facts import Change, Facts, Reference, Unverified
from model_preview.markdown import escape, markdown
from model_preview.preview import Preview, preview
from model_preview.redact import redact
from model_preview.verdict import Code, Gate, needs_facts
from pull_requests import history, stack_file
from pull_requests.github import GitHub, Repository
from pull_requests.proposal import ACTIONS, Base, DeclinedError, Proposal, propose, read_base
from pull_requests.stack_file import Entry

HOPELESS = frozenset({Code.MISSING, Code.OTHER_DIGEST, Code.REFUSED})
"""Reasons against a release that nothing done to the same version removes; such a version is not proposed."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Version to propose."""

    version: int
    digest: str | None = None
    """Digest as a stack file has it; None if it is not known."""
    note: str = ""
    """Origin of the version, in Markdown."""
    is_former: bool = False
    """True if the stack had the version before."""


class Evidence(BaseModel):
    """Content of the tag `proposed` that a retraining writes, as far as a pull request shows it."""

    why: str
    note: str = ""


def run(
    model: str,
    version: int | Literal["tagged", "previous"],
    *,
    stack: str,
    endpoint: str | None,
    copy_from: str | None,
    tracking_uri: str | None,
    dry_run: bool,
) -> None:
    """Open or update the pull request of a model's endpoint, and print its address.

    Args:
        model: name of the registered model.
        version: number of the version; `tagged`: the newest one with the tag `proposed`; `previous`: the last one that
            differs from the present one, in the git history of the stack file.
        stack: name of the stack.
        endpoint: name of the endpoint; None: the one that serves the model.
        copy_from: address of another MLflow, from which the version is copied first.
        tracking_uri: address of the stack's MLflow; None: as for the other commands.
        dry_run: write nothing.
    """
    path = release.locate(stack)
    uri, why_not = _tracking(tracking_uri, needed=version == "tagged" or bool(copy_from))
    with pull_request_errors(), GitHub(Repository.from_environment(os.environ), tell=tell) as github:
        base = read_base(github, in_repository(path))
        entry = _entry(base, model, endpoint)
        found = _candidate(entry, version, path, uri, copy_from=copy_from, dry_run=dry_run)
        if found is None:
            return
        if found.version == entry.version or (version == "tagged" and found.version < entry.version):
            print(f"{base.file.name}: {entry.endpoint} has version {entry.version}; nothing to propose")
            return
        facts = _facts(entry, found, uri, why_not)
        digest = _digest(base, entry, found, facts)
        said = _judged(base, entry, found, digest, facts)
        after = base.file.release(entry.endpoint, found.version, digest)
        report = _report(said, found.note, base, github.repository)
        proposal = Proposal(stack=stack, base=base, entry=entry, version=found.version, after=after, report=report)
        release.warn(entry, base.file.name)
        if dry_run:
            print(f"{proposal.title}\n\n{proposal.body}\n{release.difference(base.file, after)}nothing was changed")
            return
        try:
            done = propose(github, proposal)
        except DeclinedError as declined:
            if version != "tagged":
                raise
            print(declined)
            return
    print(f"{done.url}: {proposal.title} ({done.done})")
    if done.author == ACTIONS:
        tell(
            "the pull request was made with the token of GitHub Actions, so it starts no checks; set GITHUB_TOKEN to "
            "the token of a GitHub App (docs/ci.md)"
        )


def _tracking(uri: str | None, *, needed: bool) -> tuple[str, str]:
    """Return the address of the stack's MLflow; or an empty text and the reason, if it is not needed."""
    try:
        return target.tracking(uri), ""
    except CommandError as error:
        if needed or uri:
            raise
        return "", str(error)


def in_repository(path: Path) -> str:
    """Return the path of the file in the repository, as this checkout has it."""
    command = ["git", "-C", str(path.parent), "rev-parse", "--show-prefix"]
    try:
        prefix = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise CommandError(f"{path.parent} is not a git checkout; run the command in one") from error
    return f"{prefix}{path.name}"


def _entry(base: Base, model: str, endpoint: str | None) -> Entry:
    """Return the endpoint that serves the model."""
    file = base.file
    if endpoint:
        entry = file.entry(endpoint)
        if entry.model != model:
            raise CommandError(f"{file.name}: {endpoint} serves {entry.model}; write `mlops propose {entry.model}`")
        return entry
    known = file.endpoints().values()
    found = [entry for entry in known if entry.model == model]
    if len(found) > 1:
        names = " or ".join(entry.endpoint for entry in found)
        raise CommandError(f"{file.name}: {len(found)} endpoints serve {model}; write --endpoint {names}")
    if not found:
        models = ", ".join(sorted({entry.model for entry in known})) or "none"
        raise CommandError(f"{file.name}: no endpoint serves {model}; models that are served: {models}")
    return found[0]


def _candidate(
    entry: Entry,
    version: int | Literal["tagged", "previous"],
    path: Path,
    uri: str,
    *,
    copy_from: str | None,
    dry_run: bool,
) -> Candidate | None:
    """Return the version to propose; None if there is none, which is printed."""
    if version == "previous":
        former = history.previous(path, entry)
        digest, note = former.entry.digest, f"The stack had version {former.entry.version} before, as in {former}."
        return Candidate(version=former.entry.version, digest=digest, note=escape(note), is_former=True)
    if version != "tagged" and not copy_from:
        return Candidate(version=version)
    from training.registry import client as versions
    from training.registry import copies

    source_uri, why = copy_from or uri, ""
    with registry_errors():
        source = versions.connect(source_uri)
        if version == "tagged":
            tagged = [
                one for one in versions.versions(source, entry.model) if one.tags.get(PROPOSED, "false") != "false"
            ]
            if not tagged:
                print(f"no version of {entry.model} at {redact(source_uri)} has the tag {PROPOSED}; nothing to propose")
                return None
            version, why = int(tagged[0].version), _why(tagged[0].tags[PROPOSED])
        if not copy_from:
            return Candidate(version=version, note=why)
        versions.version(source, entry.model, version)
        if dry_run:
            print(f"{entry.model} version {version} would be copied to {redact(uri)}, and the copy proposed")
            return None
        number = copies.copy(source, copy_from, uri, entry.model, version)
        digest = copies.check(source, uri, entry.model, version, number)
    where = redact(copy_from)
    print(f"{entry.model} version {version} at {where} is version {number} of the stack's MLflow; the digests agree")
    note = escape(f"Version {number} is a copy of version {version} at {where}; the digests agree.")
    return Candidate(version=number, digest=stack_file.digest(digest), note=" ".join(filter(None, [note, why])))


def _why(tag: str) -> str:
    """Return the reason of a retraining in Markdown; empty if the tag has another content."""
    try:
        found = Evidence.model_validate_json(tag)
    except ValidationError:
        return ""
    return escape(f"The model was trained again, because {found.why}. {found.note and f'Note: {found.note}.'}".strip())


def _facts(entry: Entry, found: Candidate, uri: str, why_not: str) -> Facts | Unverified | None:
    change = _change(entry, found, found.digest)
    if not needs_facts(change, _gate({}, entry, found)):
        return None
    if not uri:
        return Unverified(why=f"MLflow was not asked: {why_not}")
    return reading.read(uri, [change], token=os.environ.get("MLFLOW_TRACKING_TOKEN", ""))


def _digest(base: Base, entry: Entry, found: Candidate, facts: Facts | Unverified | None) -> str | None:
    """Return the digest for the stack file; None if the file needs none."""
    if found.digest is None and not found.is_former and base.file.needs_digest(entry):
        return release.digest_in(facts, entry, found.version)
    return found.digest if found.is_former or base.file.needs_digest(entry) else None


def _judged(
    base: Base, entry: Entry, found: Candidate, digest: str | None, facts: Facts | Unverified | None
) -> Preview:
    """Return the preview of the version. CommandError if the version can never go live."""
    gate = _gate(base.file.config(), entry, found)
    said = preview(_change(entry, found, digest), facts, gate, packages.serving_image(Path("requirements.lock")))
    if any(reason.code in HOPELESS for reason in said.verdict.reasons):
        raise CommandError(said.verdict.sentence, ExitCode.REFUSED)
    return said


def _change(entry: Entry, found: Candidate, digest: str | None) -> Change:
    old = Reference(model=entry.model, version=entry.version, digest=entry.digest or "")
    new = Reference(model=entry.model, version=found.version, digest=digest or "")
    return Change(endpoint=entry.endpoint, old=old, new=new)


def _gate(config: Mapping[str, object], entry: Entry, found: Candidate) -> Gate:
    """Return the gate as the stack file configures it; an invalid setting is left to the preview of the stack."""
    try:
        gate = Gate.model_validate(config.get("mlops:gate", {}))
    except ValidationError:
        gate = Gate()
    former = Reference(model=entry.model, version=found.version, digest=found.digest or "")
    released = (former,) if found.is_former else ()
    own = images.of_stack_file(config, entry.endpoint)
    return gate.model_copy(update={"released": released, "protected": is_protected(config), **own})


def _report(said: Preview, note: str, base: Base, repository: Repository) -> str:
    url = run_url(os.environ, repository)
    made_by = f" in [this run]({url})" if url else ""
    foot = (
        f"`mlops propose` made this pull request{made_by}. It changes `{base.path}` only, and the next call writes "
        "branch and text again. Close it to decline this version."
    )
    return "\n\n".join(filter(None, [markdown([said]).strip(), note, "---", foot]))


def choice(version: int | None, *, tagged: bool, previous: bool) -> int | Literal["tagged", "previous"]:
    """Return what the command line says about the version. CommandError unless it says exactly one thing."""
    if (version is not None) + tagged + previous != 1:
        raise CommandError("write the number of the version, or --tagged, or --previous")
    return "tagged" if tagged else "previous" if version is None else version
