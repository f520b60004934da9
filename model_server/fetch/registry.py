"""What an MLflow server says of registered models, by its REST API.

MLflow's own client would take a second of CPU to be imported (`python -X importtime -c "import mlflow.tracking"`), of
each pod that starts, beside pods that are answering.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

SECONDS = 10  # until an answer is given up
MOST = {"model-versions": 10_000, "registered-models": 1000}  # that MLflow lists at once


class RegistryError(Exception):
    """MLflow answered, but not what was asked for."""


class UnknownError(RegistryError):
    """There is no such model, or no such version of it."""


class Registry:
    """The one behind the URL of an MLflow server. Every method may raise RegistryError, or OSError for no answer."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/2.0/mlflow"

    def version(self, model: str, version: int) -> tuple[str, Mapping[str, str]]:
        """The URI of the folder with the version's files, and the version's tags.

        Raises:
            UnknownError: it does not exist.
        """
        which = {"name": model, "version": str(version)}
        tags = self._get("model-versions/get", **which)["model_version"].get("tags", [])
        uri = self._get("model-versions/get-download-uri", **which)["artifact_uri"]
        return str(uri), {tag["key"]: tag["value"] for tag in tags}

    def versions(self, model: str) -> list[int]:
        """All numbers that the model has; none where there is no such model."""
        found = self._list("model-versions", "model_versions", filter=f"name='{model}'")
        return sorted(int(version["version"]) for version in found)

    def models(self) -> list[str]:
        """The names of the models."""
        return sorted(model["name"] for model in self._list("registered-models", "registered_models"))

    def _list(self, what: str, key: str, **which: str) -> list[Mapping[str, Any]]:
        return cast(
            "list[Mapping[str, Any]]", self._get(f"{what}/search", **which, max_results=MOST[what]).get(key, [])
        )

    def _get(self, path: str, **query: str | int) -> dict[str, Any]:
        try:
            with urlopen(f"{self._url}/{path}?{urlencode(query)}", timeout=SECONDS) as answer:
                said = json.load(answer)
        except HTTPError as error:
            raise _refusal(error) from None
        except ValueError:
            raise RegistryError(f"what answers at {self._url} is no MLflow server") from None
        return cast("dict[str, Any]", said)


def _refusal(error: HTTPError) -> RegistryError:
    """What MLflow said, or the status of whoever answered in its place."""
    try:
        said = cast("dict[str, str]", json.loads(error.read()))
        code, message = said["error_code"], said["message"]
    except (ValueError, KeyError, TypeError):
        return RegistryError(f"HTTP {error.code} {HTTPStatus(error.code).phrase}")
    return UnknownError(message) if code == "RESOURCE_DOES_NOT_EXIST" else RegistryError(f"{code}: {message}")
