"""The model registry of MLflow: what is asked of it, and how its answers read."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar, cast

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from training.registry import filters
from training.registry.stages import Standing

UNKNOWN = "RESOURCE_DOES_NOT_EXIST"
PAGE = 100
Entry = TypeVar("Entry")


class UnknownError(Exception):
    """The registry has no such model or version; the message says what it has."""


class _Model(Protocol):
    """A registered model."""

    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...
    @property
    def tags(self) -> Mapping[str, str]: ...


class _Page(Protocol):
    """Part of an answer, and what to ask for the next one; empty when there is none."""

    token: str | None


class _Client(Protocol):
    """MLflow's client is typed in part; these are the calls that are used here."""

    def get_registered_model(self, name: str) -> _Model: ...
    def get_model_version(self, name: str, version: str) -> ModelVersion: ...
    def get_model_version_download_uri(self, name: str, version: str) -> str: ...
    def get_run(self, run_id: str) -> Run: ...
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
"""MLflow's client. (A protocol's methods need no docstrings under a private name.)"""


class _Repository(Protocol):
    def download_artifacts(self, artifact_path: str, dst_path: str) -> object: ...


def connect(uri: str) -> Client:
    """A client of the tracking server, or local store, at the URI. Nothing is asked of it yet."""
    return cast("Client", MlflowClient(tracking_uri=uri, registry_uri=uri))


def models(client: Client) -> list[Model]:
    """Every registered model, by name."""
    return sorted(_all(lambda token: client.search_registered_models(page_token=token)), key=lambda model: model.name)


def versions(client: Client, model: str) -> list[ModelVersion]:
    """Every version of the model, the newest first; none when there is no such model."""
    wanted = filters.equal("name", model) or None
    found = _all(lambda token: client.search_model_versions(wanted, page_token=token))
    return sorted((one for one in found if one.name == model), key=lambda version: -int(version.version))


def measured(found: ModelVersion, names: Sequence[str]) -> dict[str, float]:
    """Return the metrics that the version's tags hold; a tag that somebody else wrote may be no number."""
    values: dict[str, float] = {}
    for name in names:
        with suppress(ValueError):
            values[name] = float(found.tags.get(name, ""))
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _all(ask: Callable[[str | None], Sequence[Entry]]) -> list[Entry]:
    """What stands on all pages of an answer."""
    found: list[Entry] = []
    token: str | None = None
    while True:
        page = ask(token)
        found += page
        token = cast("_Page", page).token
        if not token:
            return found


def version(client: Client, model: str, number: int) -> ModelVersion:
    """That version.

    Raises:
        UnknownError: with the versions, or models, that there are.
    """
    try:
        return client.get_model_version(model, str(number))
    except MlflowException as error:
        if error.error_code != UNKNOWN:
            raise
        raise UnknownError(_what_exists(client, model, f"{model} has no version {number}")) from error


def standing(client: Client, model: str, number: int | None = None) -> Standing:
    """How the model, and that version of it, stand now.

    Raises:
        UnknownError: there is no such model or version.
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
    """The files of the version lie in the folder. Returns it.

    Raises:
        UnknownError: the version has none.
    """
    source = client.get_model_version_download_uri(found.name, str(found.version))
    cast("_Repository", get_artifact_repository(source, tracking_uri=uri)).download_artifacts("", str(folder))
    if not (folder / "MLmodel").is_file():
        raise UnknownError(f"{found.name} version {found.version} has no model at {source}: its files were deleted")
    return folder


def _what_exists(client: Client, model: str, fault: str) -> str:
    known = [str(found.version) for found in reversed(versions(client, model))]
    if known and fault:
        return f"{fault}; versions that exist: {', '.join(known)}"
    names = ", ".join(found.name for found in models(client))
    return f"there is no model {model} in the registry; models that exist: {names or 'none; train one first'}"
