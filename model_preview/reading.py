"""Reads facts about versions from MLflow's REST API: only GET requests, and one time limit for all of them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httpx
import yaml
from pydantic import BaseModel, Field, ValidationError

from contract import evidence
from contract.names import REFERENCE_PROFILE
from contract.stages import CHAMPION, RECORDS, UNPROVEN, Stage, Standing
from contract.tags import (
    MODEL_DIGEST,
    OWN_METRICS,
    SERVING_IMAGE,
    VALIDATED_AGAINST,
    VALIDATION_REPORT,
    VALIDATION_RUN,
    VALIDATION_STATUS,
    is_of_notebook,
)
from contract.tasks import ERRORS, sides
from model_preview.facts import PROFILE, Change, Column, Facts, Model, Number, Report, Signature, Unverified, Version
from model_preview.redact import redact, redact_values
from model_preview.server import Server

SECONDS = 5.0
"""Time limit in seconds for all responses together."""
AT_ONCE = 16
"""Largest number of connections to MLflow."""
LONGEST_ARTIFACT = 8_000_000
"""Largest size in bytes of a model's or validation's file; a larger file is not read."""
LONGEST_MLMODEL = 1_000_000
"""Largest size in bytes of a file MLmodel, because a larger YAML text takes longer than MLflow's time limit."""
MISSING = "RESOURCE_DOES_NOT_EXIST"
_SIDE_METRICS = ("cost_", "system/")
_INTERVAL = ("_low", "_high")
Answer = TypeVar("Answer", bound=BaseModel)
Value = TypeVar("Value")


class _Tag(BaseModel):
    key: str
    value: str = ""


class _Alias(BaseModel):
    alias: str
    version: int


class _RegisteredModel(BaseModel):
    aliases: tuple[_Alias, ...] = ()


class _ModelAnswer(BaseModel):
    registered_model: _RegisteredModel


class _ModelVersion(BaseModel):
    version: int
    run_id: str = ""
    user_id: str = ""
    description: str = ""
    creation_timestamp: int = 0
    tags: tuple[_Tag, ...] = ()


class _VersionAnswer(BaseModel):
    model_version: _ModelVersion


class _SourceAnswer(BaseModel):
    artifact_uri: str


class _VersionsAnswer(BaseModel):
    model_versions: tuple[_ModelVersion, ...] = ()


class _Metric(BaseModel):
    key: str
    value: Number = None


class _RunInfo(BaseModel):
    lifecycle_stage: str = "active"
    artifact_uri: str = ""


class _RunData(BaseModel):
    metrics: tuple[_Metric, ...] = ()
    params: tuple[_Tag, ...] = ()
    tags: tuple[_Tag, ...] = ()


class _Run(BaseModel):
    info: _RunInfo = _RunInfo()
    data: _RunData = _RunData()


class _RunAnswer(BaseModel):
    run: _Run


class _Mlmodel(BaseModel):
    signature: Mapping[str, Any] | None = None
    size: int | None = Field(default=None, alias="model_size_bytes", ge=0, le=1 << 60)


class AddressError(ValueError):
    """Requests cannot be sent to the server; the message says why, without credentials."""


class _RefusedError(Exception):
    """MLflow's response is an error or does not have the expected content; the message says which."""


class _MissingError(_RefusedError):
    """MLflow does not have the requested model, version or run."""


def read(uri: str, changes: Sequence[Change], *, token: str = "", seconds: float = SECONDS) -> Facts | Unverified:
    """Return facts about the versions from the MLflow server at the URI, or the reason why they cannot be read.

    Args:
        uri: address of the server, `http://` or `https://`; user and password in it are sent, and never shown.
        changes: endpoints with their served and next versions.
        token: bearer token for the server; empty if the server needs none.
        seconds: time limit for all responses together.
    """
    return asyncio.run(read_at(Server(uri=uri, token=token), changes, seconds))


async def read_at(server: Server, changes: Sequence[Change], seconds: float = SECONDS) -> Facts | Unverified:
    """Return facts about the versions from the MLflow server, or why they cannot be read within the seconds."""
    try:
        async with connected(server, seconds) as http:
            return await read_with(http, changes, seconds=seconds)
    except AddressError as error:
        return Unverified(why=str(error))


@asynccontextmanager
async def connected(server: Server, seconds: float) -> AsyncGenerator[httpx.AsyncClient]:
    """Yield an HTTP client for the server; `seconds` limits each response.

    Raises:
        AddressError: requests cannot be sent to the address, with the token, or through the environment's proxy.
    """
    address, token = redact(server.uri), server.token.strip()
    if not (token.isascii() and token.isprintable()):
        raise AddressError("the token for MLflow has characters that HTTP does not allow; write the token alone")
    headers = {"Host": server.host} if server.host else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    try:
        parts = urlsplit(server.uri)
        is_http = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        base = httpx.URL(server.uri)
    except (ValueError, httpx.InvalidURL) as error:
        raise AddressError(f"{address} is not the address of an MLflow server: {redact(str(error))}") from None
    if not is_http:
        raise AddressError(f"{address} is not the address of an MLflow server; write http://HOST:PORT")
    try:
        client = httpx.AsyncClient(base_url=base, headers=headers, timeout=seconds, trust_env=not server.host)
    except (ValueError, ImportError) as error:
        raise AddressError(f"the proxy of the environment cannot be used for {address}: {redact(str(error))}") from None
    async with client as http:
        yield http


async def read_with(
    http: httpx.AsyncClient, changes: Sequence[Change], *, seconds: float = SECONDS
) -> Facts | Unverified:
    """Return facts about the versions from the MLflow server behind the client, or why they cannot be read.

    The client has the server's address as its base URL, and the headers that the server requires.
    """
    where = redact(str(http.base_url)).rstrip("/")
    try:
        async with asyncio.timeout(seconds):
            return await _Mlflow(http).facts(changes)
    except TimeoutError:
        return Unverified(why=f"MLflow at {where} did not respond within {seconds:g} s")
    except _RefusedError as error:
        return Unverified(why=f"MLflow at {where} {error}")
    except httpx.HTTPError as error:
        return Unverified(why=f"MLflow at {where} does not respond: {redact(str(error)) or type(error).__name__}")


class _Mlflow:
    """Reads models and versions from MLflow; every request is a GET."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._free = asyncio.Semaphore(AT_ONCE)
        self._profiled = set[tuple[str, int]]()
        """Versions of which it is asked whether they have a profile of their training."""

    async def facts(self, changes: Sequence[Change]) -> Facts:
        wanted = {(one.model, one.version) for change in changes for one in (change.old, change.new) if one}
        names = sorted({name for name, _ in wanted})
        self._profiled = {(one.new.model, one.new.version) for one in changes if one.new and one.needs_profile}
        models = await asyncio.gather(
            *(self._model(name, {number for model, number in wanted if model == name}) for name in names)
        )
        return Facts(
            models={model.name: model for model, _ in models if model},
            versions={(version.model, version.number): version for _, found in models for version in found},
        )

    async def _model(self, name: str, numbers: set[int]) -> tuple[Model | None, list[Version]]:
        order = sorted(numbers)
        answer, found = await asyncio.gather(
            self._registered(name), asyncio.gather(*(self._registered_version(name, number) for number in order))
        )
        if answer is None:
            return None, []
        aliases = {one.alias: one.version for one in answer.registered_model.aliases}
        versions = {number: one for number, one in zip(order, found, strict=True) if one}
        champion = aliases.get(CHAMPION)
        dangles = champion not in {None, *versions} and not await self._registered_version(name, champion or 0)
        model = Model(
            name=name,
            aliases=aliases,
            dangling=(CHAMPION,) if dangles else (),
            numbers=await self._numbers(name) if len(versions) < len(order) else (),
        )
        described = (self._version(name, number, one, aliases) for number, one in versions.items())
        return model, list(await asyncio.gather(*described))

    async def _registered(self, name: str) -> _ModelAnswer | None:
        return await self._find("registered-models/get", _ModelAnswer, name=name)

    async def _registered_version(self, name: str, number: int) -> _ModelVersion | None:
        answer = await self._find("model-versions/get", _VersionAnswer, name=name, version=number)
        return answer.model_version if answer else None

    async def _numbers(self, name: str) -> tuple[int, ...]:
        mark = '"' if "'" in name else "'"
        answer = await self._get(
            "model-versions/search", _VersionsAnswer, filter=f"name={mark}{name}{mark}", max_results=10_000
        )
        return tuple(sorted(one.version for one in answer.model_versions))

    async def _version(self, name: str, number: int, one: _ModelVersion, aliases: Mapping[str, int]) -> Version:
        tags, unknown = _texts(one.tags), dict[str, str]()
        page = str(PurePosixPath(tags.get(VALIDATION_REPORT, "")).parent / evidence.REPORT)
        source, run, mlmodel, requirements, _, found = await asyncio.gather(
            _attempt("source", unknown, lambda: self._source(name, number)),
            _attempt("run", unknown, lambda: self._run(one.run_id)),
            _attempt("signature", unknown, lambda: self._mlmodel(name, number)),
            _attempt("packages", unknown, lambda: self._file(name, number, "requirements.txt")),
            _attempt(PROFILE, unknown, lambda: self._file(name, number, REFERENCE_PROFILE))
            if (name, number) in self._profiled
            else _nothing(),
            _attempt(
                "validation report",
                unknown,
                lambda: self._report(name, one, tags.get(VALIDATION_RUN, one.run_id), page),
            )
            if VALIDATION_REPORT in tags
            else _nothing(),
        )
        report, folder = found or (None, "")
        if VALIDATION_REPORT not in tags:
            unknown["validation report"] = f"the version has no tag {VALIDATION_REPORT}"
        if run and run.info.lifecycle_stage != "active":
            unknown["run"] = f"run {one.run_id} was deleted; its facts are shown until MLflow removes them"
        signature = _signature(mlmodel, unknown) if mlmodel else None
        told = _texts(run.data.tags) | tags if run else tags
        parameters = _texts(run.data.params) if run else {}
        status, against = tags.get(VALIDATION_STATUS, ""), tags.get(VALIDATED_AGAINST, "")
        if evidence.is_needed(status, source or ""):
            fault = _fault(report, folder, source or "", tags.get(MODEL_DIGEST, ""))
            unknown |= {"validation report": fault} if report and fault else {}
            status = UNPROVEN if fault or report is None else report.status
            against = evidence.champion_tag(report.champion) if report else against
        record = tags.get(RECORDS[Stage.PRODUCTION])
        champion = aliases.get(CHAMPION) == number
        return Version(
            model=name,
            number=number,
            digest=tags.get(MODEL_DIGEST),
            source=source,
            run=one.run_id or None,
            author=told.get("requester") or told.get("mlflow.user") or redact(one.user_id) or None,
            commit=told.get("git_commit") or told.get("mlflow.source.git.commit"),
            image=told.get("image"),
            training_job=told.get("training_job"),
            is_of_notebook=is_of_notebook(tags, told),
            dataset=told.get("dataset") or parameters.get("dataset"),
            dataset_digest=told.get("dataset_digest") or parameters.get("dataset_digest"),
            rows=_whole(parameters.get("dataset_size", "")),
            registered=datetime.fromtimestamp(one.creation_timestamp / 1000, UTC) if one.creation_timestamp else None,
            description=redact(one.description),
            parameters={key: value for key, value in parameters.items() if key not in tags and key != "dataset_size"},
            metrics=_metrics(run.data.metrics, unknown) if run else _tagged_metrics(tags),
            smaller=_smaller(tags),
            signature=signature,
            serving_image=tags.get(SERVING_IMAGE, ""),
            requirements=tuple(requirements.splitlines()) if requirements is not None else None,
            size_mb=mlmodel.size / 1e6 if mlmodel and mlmodel.size else report.size_mb if report else None,
            latency_ms=report.latency_ms if report else None,
            validation_status=status,
            validated_at=_time(tags.get("validated_at")),
            validated_against=against,
            report=report,
            stage=Standing(aliases=aliases, version=number, tags=tags).stage,
            aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
            promoted_at=_time(_record(record).get("at")),
            was_champion=champion or record is not None,
            restored=_is_rollback(record),
            rolled_back=_is_rollback(tags.get(RECORDS[Stage.ARCHIVED])),
            unknown=unknown,
        )

    async def _source(self, name: str, number: int) -> str:
        return (
            await self._get("model-versions/get-download-uri", _SourceAnswer, name=name, version=number)
        ).artifact_uri

    async def _run(self, run_id: str) -> _Run:
        if not run_id:
            raise _RefusedError("the version has no run ID")
        try:
            return (await self._get("runs/get", _RunAnswer, run_id=run_id)).run
        except _MissingError:
            raise _RefusedError(f"MLflow no longer has run {run_id}") from None

    async def _mlmodel(self, name: str, number: int) -> _Mlmodel:
        try:
            text = await self._text(
                "model-versions/get-artifact", LONGEST_MLMODEL, name=name, version=number, path="MLmodel"
            )
            return _Mlmodel.model_validate(yaml.safe_load(text))
        except (yaml.YAMLError, ValueError, RecursionError):
            raise _RefusedError("the file MLmodel is not readable") from None

    async def _report(self, name: str, one: _ModelVersion, run_id: str, path: str) -> tuple[Report, str]:
        """Return the report of a validation, and the URI of the artifacts of its run."""
        text, run = await asyncio.gather(self._text("get-artifact", run_id=run_id, path=path), self._run(run_id))
        try:
            report = Report.model_validate_json(text)
        except ValidationError:
            raise _RefusedError(f"the file {path} of run {run_id} is not a validation report") from None
        if (report.model, report.version) != (name, one.version):
            raise _RefusedError(f"the report is about {report.model} version {report.version}")
        return report, run.info.artifact_uri

    async def _file(self, name: str, number: int, path: str) -> str:
        return await self._text("model-versions/get-artifact", name=name, version=number, path=path)

    async def _text(self, place: str, longest: int = LONGEST_ARTIFACT, **query: str | int) -> str:
        """Return the text of a file of at most `longest` bytes.

        MLflow responds with 404 or 500 if its artifact store does not have the file.
        """
        async with self._free, self._http.stream("GET", place, params=query) as answer:
            content = bytearray()
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > longest:
                    raise _RefusedError(f"the file {query['path']} is larger than {longest / 1e6:g} MB")
        if not answer.is_success:
            raise _RefusedError(
                f"MLflow responded with {_words(answer.status_code, bytes(content))} for {query['path']}"
            )
        return content.decode(errors="replace")

    async def _find(self, place: str, kind: type[Answer], **query: str | int) -> Answer | None:
        try:
            return await self._get(place, kind, **query)
        except _MissingError:
            return None

    async def _get(self, place: str, kind: type[Answer], **query: str | int) -> Answer:
        async with self._free:
            answer = await self._http.get(f"api/2.0/mlflow/{place}", params=query)
        if answer.is_success:
            try:
                return kind.model_validate_json(answer.content)
            except ValidationError:
                raise _RefusedError("is not an MLflow server: the response does not have MLflow's form") from None
        words = f"responded with {_words(answer.status_code, answer.content)}"
        raise _MissingError(words) if _code(answer.content) == MISSING else _RefusedError(words)


async def _attempt(what: str, unknown: dict[str, str], ask: Callable[[], Awaitable[Value]]) -> Value | None:
    """Return the result of `ask`; if MLflow refuses it, return None and add the reason to `unknown`."""
    try:
        return await ask()
    except _RefusedError as error:
        unknown[what] = str(error)
        return None


def _fault(report: Report | None, folder: str, source: str, digest: str) -> str:
    """Return why the report does not prove that the version passed; empty if it does."""
    if report is None:
        return ""
    place = evidence.fault_of_place(folder, source)
    reported = (report.model, report.version, report.model_digest)
    return place or evidence.fault_of_content(reported, report.model, report.version, digest)


async def _nothing() -> None:
    return None


def _texts(tags: Iterable[_Tag]) -> dict[str, str]:
    return redact_values({tag.key: tag.value for tag in tags})


def _metrics(found: Sequence[_Metric], unknown: dict[str, str]) -> dict[str, float]:
    shown = {one.key: one.value for one in found if not one.key.startswith(_SIDE_METRICS)}
    shown = {key: value for key, value in shown.items() if not key.endswith(_INTERVAL)}
    unknown |= {key: "the run recorded no finite number" for key, value in shown.items() if value is None}
    return {key: value for key, value in shown.items() if value is not None}


def _tagged_metrics(tags: Mapping[str, str]) -> dict[str, float]:
    """Return the metrics in a version's tags, which also have the bounds of each interval; the run may be deleted."""
    found = {key: _real(value) for key, value in tags.items() if all(f"{key}{end}" in tags for end in _INTERVAL)}
    return {key: value for key, value in found.items() if value is not None}


def _smaller(tags: Mapping[str, str]) -> tuple[str, ...]:
    own = {name for name, side in sides(tags.get(OWN_METRICS, "")).items() if side == "smaller"}
    return tuple(sorted(ERRORS | own))


def _signature(mlmodel: _Mlmodel, unknown: dict[str, str]) -> Signature | None:
    if not mlmodel.signature or not mlmodel.signature.get("inputs"):
        unknown["signature"] = "the version was logged without a signature"
        return None
    try:
        inputs, outputs = (_columns(mlmodel.signature.get(side)) for side in ("inputs", "outputs"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        unknown["signature"] = "the signature in the file MLmodel cannot be read"
        return None
    return Signature(inputs=inputs, outputs=outputs)


def _columns(stored: object) -> tuple[Column, ...]:
    if not isinstance(stored, str | None):  # a YAML value whose text may be endless
        raise TypeError("MLflow writes columns as JSON text")
    entries = cast("list[dict[str, Any]]", json.loads(stored) if stored else [])
    return tuple(
        Column(name=str(entry.get("name") or f"#{place}"), kind=_kind(entry), required=entry.get("required", True))
        for place, entry in enumerate(entries)
    )


def _kind(entry: Mapping[str, Any]) -> str:
    if entry["type"] == "tensor":
        return f"{entry['tensor-spec']['dtype']} {entry['tensor-spec']['shape']}"
    inner = {key: value for key, value in entry.items() if key not in {"type", "name", "required"}}
    return f"{entry['type']} {json.dumps(inner, sort_keys=True)}" if inner else str(entry["type"])


def _record(stored: str | None) -> Mapping[str, str]:
    """Return the record that a promotion wrote into a tag; empty if the tag has another content."""
    try:
        record: object = json.loads(stored or "{}")
    except (ValueError, RecursionError):
        return {}
    return (
        {str(key): str(value) for key, value in cast("dict[object, object]", record).items()}
        if isinstance(record, dict)
        else {}
    )


def _is_rollback(stored: str | None) -> bool:
    return _record(stored).get("why", "").startswith("rollback")


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _real(text: str) -> float | None:
    try:
        return _Metric(key="", value=float(text)).value
    except ValueError:
        return None


def _code(content: bytes) -> str:
    try:
        said: object = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    return str(cast("dict[str, object]", said).get("error_code", "")) if isinstance(said, dict) else ""


def _words(status: int, content: bytes) -> str:
    """Return the HTTP status and the beginning of the response's message, on one line."""
    try:
        said = str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = content[:1000].decode(errors="replace")
    said = " ".join(redact(said).split())[:160]
    return f"HTTP {status}" + (f" ({said})" if said and not said.startswith("<") else "")
