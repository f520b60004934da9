"""Client of MLflow's model registry, with functions that read models, versions and files."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from mlflow.entities import Experiment, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from contract.stages import Standing
from training.registry import filters

UNKNOWN, TWICE = "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST"
PAGE = 100
Entry = TypeVar("Entry")


class UnknownError(Exception):
    """The registry has no such model, version or file; the message names what exists."""


class _Model(Protocol):
    """A registered model."""

    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...
    @property
    def tags(self) -> Mapping[str, str]: ...


class _Page(Protocol):
    """One page of a search result."""

    token: str | None
    """Token for the next page; empty on the last one."""


class _Client(Protocol):
    """Typed calls of MLflow's client, whose own types are incomplete."""

    def get_registered_model(self, name: str) -> _Model: ...
    def get_model_version(self, name: str, version: str) -> ModelVersion: ...
    def get_model_version_download_uri(self, name: str, version: str) -> str: ...
    def get_run(self, run_id: str) -> Run: ...
    def get_experiment_by_name(self, name: str) -> Experiment | None: ...
    def create_experiment(self, name: str, artifact_location: str | None = None) -> str: ...
    def create_run(self, experiment_id: str, *, tags: Mapping[str, str], run_name: str) -> Run: ...
    def set_terminated(self, run_id: str) -> None: ...
    def set_registered_model_tag(self, name: str, key: str, value: str) -> None: ...
    def delete_registered_model_tag(self, name: str, key: str) -> None: ...
    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None: ...
    def delete_registered_model_alias(self, name: str, alias: str) -> None: ...
    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None: ...
    def delete_model_version_tag(self, name: str, version: str, key: str) -> None: ...
    def update_model_version(self, name: str, version: str, description: str) -> ModelVersion: ...
    def log_artifact(self, run_id: str, local_path: str | Path, artifact_path: str | None = None) -> None: ...
    def search_model_versions(
        self, filter_string: str | None = None, max_results: int = PAGE, page_token: str | None = None
    ) -> Sequence[ModelVersion]: ...
    def search_registered_models(
        self, filter_string: str | None = None, max_results: int = PAGE, page_token: str | None = None
    ) -> Sequence[_Model]: ...


Model = _Model
Client = _Client
"""Client of an MLflow tracking server and registry."""


class _Repository(Protocol):
    def download_artifacts(self, artifact_path: str, dst_path: str) -> object: ...


class _TagClient(MlflowClient):
    """Client that writes a tag again if another client created the tag at the same moment.

    MLflow looks for a tag before it inserts it, so one of two first writes at once is refused with TWICE.
    """

    def set_model_version_tag(
        self,
        name: str,
        version: str | None = None,
        key: str | None = None,
        value: object = None,
        stage: str | None = None,
    ) -> None:
        """Set the tag of a version."""
        _again(super().set_model_version_tag, name, version, key, value, stage)

    def set_registered_model_tag(self, name: str, key: str, value: object) -> None:
        """Set the tag of a model."""
        _again(cast("Any", super()).set_registered_model_tag, name, key, value)


def _again(write: Callable[..., object], *arguments: object) -> None:
    try:
        write(*arguments)
    except MlflowException as error:
        if error.error_code != TWICE:
            raise
        write(*arguments)


def connect(uri: str) -> Client:
    """Return a client of the tracking server or local store at the URI. It sends no request yet."""
    return cast("Client", _TagClient(tracking_uri=uri, registry_uri=uri))


def models(client: Client) -> list[Model]:
    """Return all registered models, sorted by name."""
    return sorted(_all(lambda token: client.search_registered_models(page_token=token)), key=lambda model: model.name)


def versions(client: Client, model: str) -> list[ModelVersion]:
    """Return all versions of the model, newest first; an empty list if the model does not exist."""
    condition = filters.equal("name", model) or None
    found = _all(lambda token: client.search_model_versions(condition, page_token=token))
    return sorted((one for one in found if one.name == model), key=lambda version: -int(version.version))


def measured(found: ModelVersion, names: Sequence[str]) -> dict[str, float]:
    """Return the finite metrics from the version's tags; values that are not numbers are left out."""
    values: dict[str, float] = {}
    for name in names:
        with suppress(ValueError):
            values[name] = float(found.tags.get(name, ""))
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _all(search: Callable[[str | None], Sequence[Entry]]) -> list[Entry]:
    """Return the entries of all pages."""
    found: list[Entry] = []
    token: str | None = None
    while True:
        page = search(token)
        found += page
        token = cast("_Page", page).token
        if not token:
            return found


def version(client: Client, model: str, number: int) -> ModelVersion:
    """Return one version of the model.

    Raises:
        UnknownError: the version or the model does not exist.
    """
    try:
        return client.get_model_version(model, str(number))
    except MlflowException as error:
        if error.error_code != UNKNOWN:
            raise
        raise UnknownError(_what_exists(client, model, f"{model} has no version {number}")) from error


def run(client: Client, found: ModelVersion) -> Run | None:
    """Return the run that registered the version; None if the version has no run, or the run was deleted for good."""
    try:
        return client.get_run(found.run_id) if found.run_id else None
    except MlflowException as error:
        if error.error_code != UNKNOWN:
            raise
        return None


def experiment(client: Client, name: str, location: str | None = None) -> str:
    """Return the ID of the experiment; create it if it does not exist, with its artifacts below the location.

    Without a location, a new experiment has MLflow's default one.
    """
    if found := client.get_experiment_by_name(name):
        return found.experiment_id
    try:
        return client.create_experiment(name, location)
    except MlflowException:
        if found := client.get_experiment_by_name(name):  # another process created it at the same time
            return found.experiment_id
        raise


def standing(client: Client, model: str, number: int | None = None) -> Standing:
    """Return the present aliases of the model and, if a number is given, the tags of that version.

    Raises:
        UnknownError: the model or the version does not exist.
    """
    try:
        aliases = {alias: int(target) for alias, target in client.get_registered_model(model).aliases.items()}
    except MlflowException as error:
        if error.error_code != UNKNOWN:
            raise
        raise UnknownError(_what_exists(client, model, "")) from error
    if number is None:
        return Standing(model=model, aliases=aliases)
    return Standing(model=model, aliases=aliases, version=number, tags=version(client, model, number).tags)


def download(client: Client, uri: str, found: ModelVersion, folder: Path) -> Path:
    """Download the files of the version into the folder and return the folder.

    Raises:
        UnknownError: the version has no files.
    """
    source = client.get_model_version_download_uri(found.name, str(found.version))
    cast("_Repository", get_artifact_repository(source, tracking_uri=uri)).download_artifacts("", str(folder))
    if not (folder / "MLmodel").is_file():
        raise UnknownError(
            f"{found.name} version {found.version} has no model at {source}: its files were deleted; train it again"
        )
    return folder


def _what_exists(client: Client, model: str, fault: str) -> str:
    known = [str(found.version) for found in reversed(versions(client, model))]
    if known and fault:
        return f"{fault}; versions that exist: {', '.join(known)}"
    names = ", ".join(found.name for found in models(client))
    return f"there is no model {model} in the registry; models that exist: {names or 'none; train one first'}"
