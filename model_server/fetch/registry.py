"""Client for the registered models of an MLflow server, through its REST API.

MLflow's own client costs each starting pod a second of CPU (`python -X importtime -c "import mlflow.tracking"`), while
other pods on the node serve requests.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

TIMEOUT_SECONDS = 10
PAGE_SIZE = {"model-versions": 10_000, "registered-models": 1000}  # MLflow's limits


class RegistryError(Exception):
    """MLflow responded with an error."""


class UnknownError(RegistryError):
    """The model or the version does not exist."""


class Registry:
    """Client for the MLflow server at `url`.

    Each method may raise RegistryError, or OSError if there is no response.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/2.0/mlflow"

    def version(self, model: str, version: int) -> tuple[str, Mapping[str, str]]:
        """Return the URI of the folder with the version's files, and the version's tags.

        Raises:
            UnknownError: the version does not exist.
        """
        query = {"name": model, "version": str(version)}
        tags = self._get("model-versions/get", **query)["model_version"].get("tags", [])
        uri = self._get("model-versions/get-download-uri", **query)["artifact_uri"]
        return str(uri), {tag["key"]: tag["value"] for tag in tags}

    def versions(self, model: str) -> list[int]:
        """Return all version numbers of the model, in order; an empty list if there is no such model."""
        found = self._list("model-versions", "model_versions", filter=f"name='{model}'")
        return sorted(int(version["version"]) for version in found)

    def models(self) -> list[str]:
        """Return the names of all models, sorted."""
        return sorted(model["name"] for model in self._list("registered-models", "registered_models"))

    def _list(self, what: str, key: str, **query: str) -> list[Mapping[str, Any]]:
        return cast(
            "list[Mapping[str, Any]]", self._get(f"{what}/search", **query, max_results=PAGE_SIZE[what]).get(key, [])
        )

    def _get(self, path: str, **query: str | int) -> dict[str, Any]:
        try:
            with urlopen(f"{self._url}/{path}?{urlencode(query)}", timeout=TIMEOUT_SECONDS) as answer:
                body = json.load(answer)
        except HTTPError as error:
            raise _refusal(error) from None
        except ValueError:
            raise RegistryError(f"the server at {self._url} is not an MLflow server") from None
        return cast("dict[str, Any]", body)


def _refusal(error: HTTPError) -> RegistryError:
    """Return MLflow's message, or the HTTP status if another server responded."""
    try:
        body = cast("dict[str, str]", json.loads(error.read()))
        code, message = body["error_code"], body["message"]
    except (ValueError, KeyError, TypeError):
        return RegistryError(f"HTTP {error.code} {HTTPStatus(error.code).phrase}")
    return UnknownError(message) if code == "RESOURCE_DOES_NOT_EXIST" else RegistryError(f"{code}: {message}")
