"""Copies a version from one registry to another, with its files, metrics, parameters and origin.

The target registry does not depend on the source afterwards: it holds the files, not a link to another bucket.
"""

import re
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import mlflow
from mlflow.entities import LoggedModel, Metric, Param, Run
from mlflow.entities.model_registry import ModelVersion

from contract.digest import folder_digest
from contract.stages import ALIAS_AT_VALIDATION, RECORDS, RefusedError
from contract.tags import MODEL_DIGEST, VALIDATED_AGAINST, VALIDATION_REPORT, VALIDATION_RUN
from training import mlflow_logging
from training.registry import client as versions
from training.registry import filters
from training.registry.client import Client

EXPERIMENT = "copied-versions"
SOURCE_RUN, SOURCE_VERSION, SOURCE_DIGEST = "source_run_id", "source_version", "source_digest"


class _Target(Client, Protocol):
    """Client of the target registry, with the calls that write a copy."""

    def search_runs(self, experiment_ids: list[str], filter_string: str = "") -> Sequence[Run]: ...
    def log_batch(self, run_id: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = ()) -> object: ...
    def create_logged_model(self, experiment_id: str, name: str, source_run_id: str) -> LoggedModel: ...
    def log_model_artifacts(self, model_id: str, local_dir: str) -> None: ...
    def finalize_logged_model(self, model_id: str, status: str) -> LoggedModel: ...
    def create_registered_model(self, name: str) -> object: ...
    def create_model_version(
        self, name: str, source: str, run_id: str, *, tags: Mapping[str, str], description: str | None, model_id: str
    ) -> ModelVersion: ...


def copy(client: Client, uri: str, target_uri: str, model: str, number: int) -> int:
    """Copy the version to the target registry, under the same model name, and return its number there.

    The copy has the metrics, parameters, description and tags of the version, except the records of its promotions and
    validation. It also has the tags `source_registry`, `source_model`, `source_version`, `source_run_id` and
    `source_digest`. A second call returns the same copy. A call after a killed one continues it: the version appears
    complete, in the last step.

    Args:
        client: client of the source registry.
        uri: address of the source registry, recorded in a tag without user and password.
        target_uri: address of the target registry.
        model: name of the registered model.
        number: number of the version in the source registry.
    """
    target = cast("_Target", versions.connect(target_uri))
    version = versions.version(client, model, number)
    lineage = {
        "source_registry": _without_credentials(uri),
        "source_model": model,
        SOURCE_VERSION: str(number),
        SOURCE_RUN: version.run_id or "none",
    }
    for there in versions.versions(target, model):
        if lineage.items() <= there.tags.items():
            return int(there.version)
    run_id = _run(client, target, version, lineage)
    model_id, source_digest, copied_digest = _files(client, uri, target, version, run_id)
    left_out = {ALIAS_AT_VALIDATION, VALIDATED_AGAINST, VALIDATION_REPORT, VALIDATION_RUN, *RECORDS.values()}
    if not any(there.name == model for there in versions.models(target)):
        target.create_registered_model(model)
    with _global(target_uri):
        copied = target.create_model_version(
            model,
            f"models:/{model_id}",
            run_id,
            tags={key: value for key, value in version.tags.items() if key not in left_out}
            | lineage
            | {MODEL_DIGEST: copied_digest, SOURCE_DIGEST: source_digest},
            description=version.description,
            model_id=model_id,
        )
    return int(copied.version)


def check(client: Client, target_uri: str, model: str, number: int, copied: int) -> str:
    """Return the digest of a copy, after a check that it was made from the files that the version has now.

    The digests of the two differ, because the file MLmodel names the registry's own IDs. So the copy has a tag with the
    digest of the files that it was made from.

    Args:
        client: client of the source registry.
        target_uri: address of the target registry.
        model: name of the registered model.
        number: number of the version in the source registry.
        copied: number of the copy in the target registry.

    Raises:
        RefusedError: the digests do not agree, or one of them is not known.
    """
    now = versions.version(client, model, number).tags.get(MODEL_DIGEST)
    tags = versions.version(versions.connect(target_uri), model, copied).tags
    then, digest = tags.get(SOURCE_DIGEST), tags.get(MODEL_DIGEST)
    if digest and then and now in {None, then}:
        return digest
    raise RefusedError(
        f"{model} version {copied} in the target registry is a copy of files with the digest {then or 'unknown'}, and "
        f"version {number} has the digest {now or 'unknown'} now; delete the copy, and copy the version again"
    )


@contextmanager
def _global(uri: str) -> Generator[None]:
    """Set the tracking URI of this process, because MLflow's file store ignores the client's for `models:/ID`."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _run(client: Client, target: _Target, version: ModelVersion, lineage: Mapping[str, str]) -> str:
    """Create or continue the target's run, with the metrics and parameters of the version's own run; return its ID."""
    experiment_id = versions.experiment(target, EXPERIMENT)
    condition = filters.all_of(*(filters.equal(f"tags.{key}", value) for key, value in lineage.items()))
    earlier = [
        run for run in target.search_runs([experiment_id], condition) if lineage.items() <= run.data.tags.items()
    ]
    run_id = earlier[0].info.run_id if earlier else _begin(target, experiment_id, version, lineage)
    if version.run_id:
        source = client.get_run(version.run_id)
        target.log_batch(
            run_id,
            metrics=[Metric(key, value, source.info.end_time or 0, 0) for key, value in source.data.metrics.items()],
            params=[Param(key, value) for key, value in source.data.params.items()],
        )
    target.set_terminated(run_id)
    return run_id


def _begin(target: _Target, experiment_id: str, version: ModelVersion, lineage: Mapping[str, str]) -> str:
    return target.create_run(experiment_id, tags=lineage, run_name=f"{version.name}-{version.version}").info.run_id


def _files(client: Client, uri: str, target: _Target, version: ModelVersion, run_id: str) -> tuple[str, str, str]:
    """Copy the files to the target; return the ID of the logged model, and the digests of its files here and there.

    Raises:
        UnknownError: the files are not the registered ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = versions.download(client, uri, version, Path(folder))
        found, registered = folder_digest(path), version.tags.get(MODEL_DIGEST)
        if registered not in (None, found):
            raise versions.UnknownError(
                f"{version.name} version {version.version} cannot be copied: its files have the digest {found}, and "
                f"its tag {MODEL_DIGEST} says {registered}, so a file or the tag was changed; train the model again"
            )
        experiment = target.get_run(run_id).info.experiment_id
        logged = target.create_logged_model(experiment, "model", run_id)
        mlflow_logging.name_in_files(path, logged)
        target.log_model_artifacts(logged.model_id, str(path))
        target.finalize_logged_model(logged.model_id, "READY")
        return logged.model_id, found, folder_digest(path)  # MLmodel now names the logged model of the target


def _without_credentials(uri: str) -> str:
    return re.sub("://[^/@]*@", "://", uri)
