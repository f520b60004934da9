"""Verification of an update's releases: reads MLflow once for all, and lets the rules of model_preview decide."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pulumi
from pulumi import Output

from components.endpoint.release import STANDARD, Files, Release
from infra.config.stack import Settings
from infra.release.gate import NO_MLFLOW, Plan, is_before_mlflow
from infra.release.record import Recorded
from infra.release.settings import Environment
from infra.release.tracking import Route
from model_preview import verdict
from model_preview.facts import Change, Facts, Reference, Unverified
from model_preview.images import AUTO, chosen
from model_preview.packages import serving_image
from model_preview.preview import preview
from model_preview.verdict import Gate

LOCK = "requirements.lock"


async def verify(
    stack: Settings,
    recorded: Recorded,
    environment: Environment,
    route: Route,
    tracking_url: Output[str],
    *,
    bucket: Output[str],
    checkout: Path,
) -> Plan:
    """Return the plan of the update's releases; write it to a file if the environment names one.

    Args:
        stack: settings of the stack.
        recorded: releases that the state records.
        environment: environment of this process.
        route: route to MLflow.
        tracking_url: resolves when MLflow is ready.
        bucket: s3:// URI of the artifact bucket; unknown in the preview that creates it.
        checkout: folder with the lock file of the serving image.
    """
    changes = {name: _change(stack, name, recorded) for name in {**stack.releases, **recorded.served}}
    readable = await bucket.future() or ""
    gates = {name: _gate(stack, name, recorded, environment, readable) for name in changes}
    files = {
        name: found
        for name, change in changes.items()
        if change.new
        and (found := recorded.files(name, change.new.model, change.new.version, change.new.digest))
        and bool(found.image) == (gates[name].image == AUTO)
    }
    judged = [name for name, change in changes.items() if verdict.needs_facts(change, gates[name])]
    asked = [change for name, change in changes.items() if name in judged or (change.new and name not in files)]
    facts, image = None, None
    if asked and is_before_mlflow(recorded, environment):
        facts = Unverified(why=NO_MLFLOW)
    elif asked:
        await tracking_url.future()
        facts, image = await _facts(route, asked), serving_image(checkout / LOCK)
    previews = {
        name: preview(change, facts if name in judged else None, gates[name], image)
        for name, change in changes.items()
        if change.new is None or not verdict.is_unchanged(change)
    }
    if isinstance(facts, Facts):
        for change in asked:
            wanted, new = change.new, facts.version(change.new)
            if wanted and new and new.source and change.endpoint not in files:
                digest = wanted.digest.removeprefix("sha256:") or new.digest or ""
                image = _image(gates[change.endpoint], new.serving_image)
                files[change.endpoint] = Files(source=new.source, digest=digest, image=image)
        for sentence in other_files(facts, recorded):
            pulumi.log.warn(sentence)
    if environment.model_report and pulumi.runtime.is_dry_run():
        written = {"previews": [found.model_dump(mode="json") for found in previews.values()]}
        environment.model_report.write_text(json.dumps(written))
    unknown = facts.why if isinstance(facts, Unverified) else ""
    return Plan(recorded=recorded, files=files, previews=previews, unknown=unknown)


def _change(stack: Settings, name: str, recorded: Recorded) -> Change:
    wanted = stack.releases.get(name)
    new = wanted and Reference(model=wanted.model, version=wanted.version, digest=wanted.digest)
    kept = recorded.served.get(name)
    if wanted and wanted.role and not (kept and kept.has(wanted.model, wanted.version, wanted.digest)):
        # A new challenger or shadow runs beside the version that the endpoint serves.
        served = stack.releases[wanted.endpoint]
        old = Reference(model=served.model, version=served.version, digest=served.digest)
        return Change(endpoint=name, old=old, new=new, role=wanted.role)
    old = _compared(recorded, name, new)
    role = "batch" if name in stack.batch else ""
    watched = name in stack.watched
    return Change(endpoint=name, old=_reference(old) if old else None, new=new, role=role, needs_profile=watched)


def _compared(recorded: Recorded, name: str, new: Reference | None) -> Release | None:
    """Return the release with which the next version is compared.

    This is the present one. If its rollout failed, a version that the stack has not released before is compared with
    the last release that succeeded, because clients use that one.
    """
    if new is None or any(one.has(new.model, new.version, new.digest) for one in recorded.known(name)):
        return recorded.served.get(name)
    return recorded.succeeded(name)


def _reference(release: Release) -> Reference:
    return Reference(model=release.model, version=release.version, digest=release.digest)


def _gate(stack: Settings, name: str, recorded: Recorded, environment: Environment, bucket: str) -> Gate:
    endpoint, served, wanted = stack.entries.get(name), recorded.served.get(name), stack.releases.get(name)
    return Gate(
        protected=stack.is_protected,
        mode="warn" if is_before_mlflow(recorded, environment) else stack.gate.mode,
        allow_breaking_signature=(endpoint and endpoint.allow_breaking_signature) or "",
        override=(endpoint and endpoint.override) or "",
        served_override=served.override if served else "",
        image=wanted.image if wanted else "",
        standard_image=stack.images.serving,
        bucket=bucket,
        released=tuple(_reference(one) for one in recorded.past(name)),
    )


def _image(gate: Gate, recorded: str) -> str:
    """Return the image of a release; empty if the stack file names the image."""
    if gate.image != AUTO:
        return ""
    image = chosen(AUTO, gate.standard_image, recorded)
    return STANDARD if image == gate.standard_image else image


async def _facts(route: Route, changes: Sequence[Change]) -> Facts | Unverified:
    from model_preview import reading  # with its HTTP library, for a stack whose MLflow exists

    try:
        async with route.opened() as server:
            return await reading.read_at(server, changes)
    except OSError as error:
        return Unverified(why=str(error))


def other_files(facts: Facts, recorded: Recorded) -> Iterator[str]:
    """Yield a sentence for each released version whose number has other files in the registry now."""
    for name in recorded.served:
        last = {(one.model, one.version): one for one in recorded.past(name)}
        for one in last.values():
            now = facts.versions.get((one.model, one.version))
            if now and one.digest and now.digest != one.digest:
                when = f" on {one.at}" if one.at else ""
                yield (
                    f"{one.model} version {one.version} in the registry is not what {name} released{when}: its digest "
                    f"was {one.digest[:12]} and is {(now.digest or 'none')[:12]}; the released files stay in use"
                )
