"""Mock engine that records the resources that a program declares."""

import contextvars
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pulumi
from google.protobuf import json_format
from pulumi.runtime import mocks
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import SETTINGS, get_root_resource
from typing_extensions import override

from components.endpoint.release import Release, text
from contract import names
from infra.release.record import READ_STATE

SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"
PROJECT = "mlops"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Declared resource; whole numbers in its inputs are int.

    `metadata` and `spec` are the inputs of that name, for Kubernetes; `secrets` are the paths of secret inputs.
    `timeouts` are by operation, as in {"create": "70s"}; `error_hooks` and `update_hooks` are the names of the hooks
    that run after an error and after an update.
    """

    type: str
    name: str
    urn: str
    parent: str
    provider: str
    inputs: Mapping[str, Any]
    metadata: Any
    spec: Any
    secrets: frozenset[str]
    dependencies: frozenset[str]
    replace_on_changes: tuple[str, ...]
    ignore_changes: tuple[str, ...]
    protect: bool
    timeouts: Mapping[str, str]
    error_hooks: tuple[str, ...]
    update_hooks: tuple[str, ...]


@dataclass
class Recording:
    """Resources of one program in the order of their declaration, and its exports."""

    resources: list[Resource] = field(default_factory=list[Resource])
    exports: dict[str, Any] = field(default_factory=dict[str, Any])

    def all(self, type_suffix: str) -> list[Resource]:
        """Return the resources whose type ends with a suffix such as `:Deployment`."""
        return [resource for resource in self.resources if resource.type.endswith(type_suffix)]

    def one(self, type_suffix: str, name: str) -> Resource:
        """Return the only resource of that type and name."""
        (found,) = [resource for resource in self.all(type_suffix) if resource.name == name]
        return found


@dataclass
class Provider(mocks.Mocks):
    """Mock provider that accepts every request and generates names as Pulumi does."""

    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Outputs of the resources in the stack's state, by URN."""

    @override
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        outputs: dict[str, Any] = dict(vars(args)["inputs"])
        if args.typ.startswith("kubernetes:") and "metadata" in outputs:
            outputs["metadata"] = {"name": f"{args.name}-0a1b2c3d", **outputs["metadata"]}
        return f"{args.name}-id", outputs

    @override
    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        return ({"outputs": self.state} if args.token == READ_STATE else {}), []


def state(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state in which each endpoint and each batch of the stack file has released its version."""
    types = {
        "endpoints": "ModelEndpoint$kubernetes:apps/v1:Deployment",
        "batch": "BatchJob$kubernetes:batch/v1:CronJob",
    }
    served = {
        f"{types[key]}::{name}{role and '-'}{role}": _released(entry.get("model", name), version["version"])
        for key in types
        for name, entry in cast("Mapping[str, Any]", config.get(key) or {}).items()
        for role in ("", "challenger", "shadow")
        if (version := entry and (entry.get(role) if role else entry)) and "version" in version
    }
    return {
        f"urn:pulumi:test::mlops::mlops:index:{urn}": {
            "outputs": {"metadata": {"annotations": {names.RELEASE: text(release)}}}
        }
        for urn, release in served.items()
    }


def _released(model: str, version: int) -> Release:
    return Release(model=model, version=version, source=f"s3://mlops-artifacts/{model}/{version}", digest="0" * 64)


class _Monitor(mocks.MockMonitor):
    def __init__(self, recording: Recording, provider: mocks.Mocks, stack: str) -> None:
        super().__init__(provider)
        self._recording = recording
        self._stack = stack

    @override
    def make_urn(self, parent: str, type_: str, name: str) -> str:
        parents = parent.split("::")[2] if parent and "pulumi:pulumi:Stack" not in parent else ""
        return f"urn:pulumi:{self._stack}::{PROJECT}::{parents}{'$' if parents else ''}{type_}::{name}"

    @override
    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceResponse:
        if request.type != "pulumi:pulumi:Stack":
            self._recording.resources.append(
                _resource(request, self.make_urn(request.parent, request.type, request.name))
            )
        return cast("Any", super()).RegisterResource(request)


class _Callbacks:
    """Callbacks that are recorded with their resources and never called."""

    def register_error_hook(self, hook: pulumi.ErrorHook) -> None:
        pass

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        pass


def _resource(request: resource_pb2.RegisterResourceRequest, urn: str) -> Resource:
    secrets: list[str] = []
    inputs = _plain(json_format.MessageToDict(request.object), "", secrets)
    return Resource(
        type=request.type,
        name=request.name,
        urn=urn,
        parent=request.parent,
        provider=request.provider,
        inputs=inputs,
        metadata=inputs.get("metadata"),
        spec=inputs.get("spec"),
        secrets=frozenset(secrets),
        dependencies=frozenset(request.dependencies),
        replace_on_changes=tuple(request.replaceOnChanges),
        ignore_changes=tuple(request.ignoreChanges),
        protect=request.protect,
        timeouts=json_format.MessageToDict(request.customTimeouts),
        error_hooks=tuple(request.hooks.on_error),
        update_hooks=tuple(request.hooks.after_update),
    )


def _plain(value: Mapping[str, Any], path: str, secrets: list[str]) -> dict[str, Any]:
    """Return the inputs of a message without Pulumi's markers; append the paths of secrets to `secrets`."""
    return {key: _item(item, f"{path}.{key}".lstrip("."), secrets) for key, item in value.items()}


def _item(value: object, path: str, secrets: list[str]) -> object:
    match value:
        case dict() if SECRET_SIGNATURE in value:
            secrets.append(path)
            return _item(cast("dict[str, Any]", value)["value"], path, [])
        case dict():
            return _plain(cast("dict[str, Any]", value), path, secrets)
        case list():
            return [_item(item, f"{path}.{i}", secrets) for i, item in enumerate(cast("list[object]", value))]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def record(
    program: Callable[[], object],
    *,
    config: Mapping[str, object] | None = None,
    secrets: Mapping[str, str] | None = None,
    stack: str = "test",
    provider: mocks.Mocks | None = None,
    preview: bool = False,
) -> Recording:
    """Run a program with the recording engine, as in an update or a preview; keys of `config` may omit `mlops:`."""
    recording = Recording()
    plain = {
        key if ":" in key else f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in (config or {}).items()
    }
    hidden = {f"{PROJECT}:{key}": value for key, value in (secrets or {}).items()}

    def exporting() -> pulumi.Output[None]:
        program()
        exports = pulumi.Output.from_input(cast("dict[str, Any]", vars(get_root_resource())["outputs"]))
        return exports.apply(recording.exports.update)

    def run() -> None:
        set_all_config({**plain, **hidden}, list(hidden))
        monitor = _Monitor(recording, provider or Provider(state(config or {})), stack)
        mocks.set_mocks(monitor.mocks, project=PROJECT, stack=stack, preview=preview, monitor=monitor)
        cast("Any", SETTINGS).callbacks = _Callbacks()
        cast("Any", mocks).test(exporting)()

    contextvars.copy_context().run(run)
    return recording
