"""Functions behind `mlops promote` and `mlops rollback`; they print each step."""

import getpass
import os
import shlex
from dataclasses import replace

from cli.errors import CommandError, registry_errors
from cli.target import check_tracking, is_http
from contract.evidence import champion_tag, is_needed
from contract.exit_codes import ExitCode
from contract.stages import ALIAS_AT_VALIDATION, CHAMPION, PASSED, PREVIOUS, UNPROVEN, Stage
from contract.tags import VALIDATED_AGAINST, VALIDATION_STATUS
from model_preview import reading
from model_preview.facts import Change, Reference, Unverified
from training import revision
from training.registry import claim, copies
from training.registry import client as versions
from training.registry import promote as registry
from training.registry.client import Client
from training.registry.promote import LONGEST, Request


def promote(
    uri: str,
    model: str,
    version: int,
    stage: str,
    *,
    why: str,
    by: str | None,
    commit: str | None,
    copy_to: str | None,
    dry_run: bool,
) -> None:
    """Move the version to the stage, or copy it to the MLflow at `copy_to` and move the copy."""
    request = _request(model, version, Stage(stage), why=why, by=by, commit=commit)
    if copy_to:
        check_tracking(copy_to)
    if copy_to == uri:
        raise CommandError(
            f"--copy-to {copy_to} is the MLflow that has the version already; write the address of another one"
        )
    with registry_errors():
        client = _client(uri, request)
        if not copy_to:
            _carry_out(client, _proven(uri, request), dry_run=dry_run)
        elif dry_run:
            print(f"{model} version {version} would be copied to {copy_to}, and the copy moved to {stage}")
        else:
            number = copies.copy(client, uri, copy_to, model, version)
            print(f"{model} version {version} is version {number} at {copy_to}")
            copy = _proven(copy_to, replace(request, version=number))
            _carry_out(versions.connect(copy_to), copy, dry_run=False)


def rollback(uri: str, model: str, *, why: str, by: str | None, commit: str | None, dry_run: bool) -> None:
    """Make the previous champion the champion again."""
    request = _request(model, None, Stage.NONE, why=why, by=by, commit=commit)
    with registry_errors():
        _carry_out(_client(uri, request), request, dry_run=dry_run)


def _request(model: str, version: int | None, stage: Stage, *, why: str, by: str | None, commit: str | None) -> Request:
    if len(why) > LONGEST:
        raise CommandError(f"--why has {len(why)} characters; write at most {LONGEST}")
    return Request(
        model=model, version=version, stage=stage, by=(by or _user())[:60], commit=commit or revision.head(), why=why
    )


def _proven(uri: str, request: Request) -> Request:
    """Return the request with what the version's report proves, if it asks for production in an MLflow server."""
    if request.version is None or request.stage is not Stage.PRODUCTION or not is_http(uri):
        return request
    new = Reference(model=request.model, version=request.version)
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    facts = reading.read(uri, [Change(endpoint=request.model, old=None, new=new)], token=token)
    if isinstance(facts, Unverified):
        raise CommandError(f"{request.model} version {request.version} {facts}; try again", ExitCode.FAILED)
    version = facts.version(new)
    if version is None or not is_needed(PASSED, version.source or ""):
        return request
    if version.report is None:
        return replace(request, proven={VALIDATION_STATUS: UNPROVEN})
    proven = {
        VALIDATION_STATUS: version.validation_status,
        VALIDATED_AGAINST: champion_tag(version.report.champion),
        ALIAS_AT_VALIDATION: champion_tag(version.report.champion_alias),
    }
    return replace(request, proven=proven)


def _client(uri: str, request: Request) -> Client:
    """Return a client of the registry, after a check that the model and the version exist."""
    client = versions.connect(uri)
    versions.standing(client, request.model, request.version)
    return client


def _carry_out(client: Client, request: Request, *, dry_run: bool) -> None:
    if dry_run:
        for other in claim.standing(client, request.model):
            print(f"pending: {other}")
        lines = [str(step) for step in registry.plan(client, request)]
    else:
        lines = registry.promote(client, request)
    for line in lines:
        print(line)
    if dry_run:
        print(f"{request.model}: {request} would take {len(lines)} steps; nothing was changed")
    else:
        print(_conclusion(client, request))


def _conclusion(client: Client, request: Request) -> str:
    now = versions.standing(client, request.model, request.version)
    champion = f"@{CHAMPION} is version {now.champion}" if now.champion else f"there is no @{CHAMPION}"
    if request.version is None:
        return f"{request.model}: {champion} again"
    previous = now.aliases.get(PREVIOUS)
    undo = f"; `mlops rollback {shlex.quote(request.model)}` makes version {previous} the champion" if previous else ""
    return f"{request.model} version {request.version} is at stage {now.stage}; {champion}{undo}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"  # the user of a container has no name
