"""Writes to MLflow what an update released: @champion is the version that the stack serves (ADR 0020)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from contract import names, stages
from contract.stages import Standing, Step
from contract.tags import RELEASE_OVERRIDE
from infra.release.tracking import Route
from model_preview.reading import AddressError, connected
from model_preview.redact import redact

API = "api/2.0/mlflow/"
SECONDS = 5.0
"""Time limit in seconds for one response of MLflow."""


class UnwrittenError(Exception):
    """MLflow does not have what the update released; the message says why."""


async def write(
    route: Route, model: str, version: int, *, stack: str, is_champion: bool, is_rollback: bool, override: str
) -> list[str]:
    """Make the version the champion and record an override; return one line for each change.

    Args:
        route: route to MLflow.
        model: name of the registered model.
        version: number of the released version.
        stack: name of the stack, for the record.
        is_champion: True if the endpoint is the one whose version is the champion.
        is_rollback: True if the stack went back to an earlier version.
        override: user's reason why the version went live in spite of the gate; empty if it passed.

    Raises:
        UnwrittenError: MLflow cannot be reached or refuses a request.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    why = f"{'rollback: ' if is_rollback else ''}released by the stack {stack}"
    record = {"at": now, "by": f"pulumi up of {stack}", "commit": "", "why": why}
    try:
        async with route.opened(names.PROMOTER) as server, connected(server, SECONDS) as http:
            registry = _Registry(http, model, version)
            steps = list[Step]()
            if is_champion:
                steps += stages.steps_of_release(await registry.standing(), json.dumps(record))
            if override:
                text = json.dumps({"at": now, "stack": stack, "why": override})
                steps.append(Step(what="tag", key=RELEASE_OVERRIDE, version=version, value=text))
            for step in steps:
                await registry.make(step)
            return [str(step) for step in steps]
    except httpx.HTTPStatusError as error:
        raise UnwrittenError(f"MLflow responded with HTTP {error.response.status_code}") from error
    except (httpx.HTTPError, OSError) as error:
        raise UnwrittenError(f"MLflow does not respond: {redact(str(error)) or type(error).__name__}") from error
    except AddressError as error:
        raise UnwrittenError(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnwrittenError("a response does not have MLflow's form") from error


class _Registry:
    """One version in MLflow's registry."""

    def __init__(self, http: httpx.AsyncClient, model: str, version: int) -> None:
        self._http = http
        self._model = model
        self._version = version

    async def standing(self) -> Standing:
        model = await self._send("GET", "registered-models/get", name=self._model)
        version = await self._send("GET", "model-versions/get", name=self._model, version=str(self._version))
        return Standing(
            model=self._model,
            aliases={one["alias"]: int(one["version"]) for one in model["registered_model"].get("aliases", [])},
            version=self._version,
            tags={one["key"]: one.get("value", "") for one in version["model_version"].get("tags", [])},
        )

    async def make(self, step: Step) -> None:
        name, version = self._model, str(step.version)
        match step.what:
            case "alias":
                await self._send("POST", "registered-models/alias", name=name, alias=step.key, version=version)
            case "unalias":
                await self._send("DELETE", "registered-models/alias", name=name, alias=step.key)
            case "tag":
                await self._send(
                    "POST", "model-versions/set-tag", name=name, version=version, key=step.key, value=step.value
                )
            case "untag":
                await self._send("DELETE", "model-versions/delete-tag", name=name, version=version, key=step.key)

    async def _send(self, method: str, path: str, **values: str) -> Mapping[str, Any]:
        is_get = method == "GET"
        response = await self._http.request(
            method, f"{API}{path}", params=values if is_get else None, json=None if is_get else values
        )
        response.raise_for_status()
        return response.json()
