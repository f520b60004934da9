"""Provider that records the engine's requests and answers them without a cloud."""

import fcntl
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import plugin_pb2, provider_pb2

from tests.engine.recording import aws
from tests.engine.recording.differences import Difference, diff_response, differences, property_path
from tests.engine.recording.plugin import Call, RefusalError, UnreadyError
from tests.engine.recording.values import (
    UNKNOWN,
    Json,
    Secret,
    Tree,
    decode,
    encode,
    is_list,
    is_map,
    plain,
    section,
)

SECRET_KEY = "secret"
UNKNOWN_TEXT = "<unknown>"


@dataclass(frozen=True)
class Recorder:
    """Writer of the requests to a file that several plugins share."""

    file: Path | None

    def write(self, method: str, about: str, inputs: Tree, **more: Json) -> None:
        """Append one line with `method`, `about` (URN or function) and `inputs`, secrets as `{"secret": ...}`."""
        if self.file is None:
            return
        line = json.dumps({"method": method, "about": about, "inputs": _readable(inputs), **more})
        with self.file.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(f"{line}\n")


def _readable(value: Json) -> Json:
    if isinstance(value, Secret):
        return {SECRET_KEY: _readable(value.value)}
    if value is UNKNOWN:
        return UNKNOWN_TEXT
    if is_map(value):
        return {key: _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if is_list(value) else value


@dataclass(frozen=True)
class RecordingProvider:
    """Recording provider of one package; the docstring of tests.engine.recording describes `orders`."""

    package: str
    recorder: Recorder
    orders: Mapping[str, Mapping[str, Any]]

    def handshake(
        self, _request: provider_pb2.ProviderHandshakeRequest, _call: Call
    ) -> provider_pb2.ProviderHandshakeResponse:
        """Report that the plugin accepts secrets."""
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def get_plugin_info(self, _request: Empty, _call: Call) -> plugin_pb2.PluginInfo:
        """Return the version that the SDK requires."""
        return plugin_pb2.PluginInfo(version=version(f"pulumi-{self.package}"))

    def get_schema(self, _request: provider_pb2.GetSchemaRequest, _call: Call) -> provider_pb2.GetSchemaResponse:
        """Return a schema with only the name of the package."""
        name = {"name": self.package, "version": version(f"pulumi-{self.package}")}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(name))

    def check_config(self, request: provider_pb2.CheckRequest, _call: Call) -> provider_pb2.CheckResponse:
        """Accept any configuration."""
        self.recorder.write("check_config", request.urn, decode(request.news))
        return provider_pb2.CheckResponse(inputs=request.news)

    def diff_config(self, request: provider_pb2.DiffRequest, _call: Call) -> provider_pb2.DiffResponse:
        """Return changes without a replacement of the provider."""
        return diff_response(list(differences(decode(request.old_inputs), decode(request.news))), set())

    def configure(self, _request: provider_pb2.ConfigureRequest, _call: Call) -> provider_pb2.ConfigureResponse:
        """Accept the configuration; there is nothing to connect to."""
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def cancel(self, _request: Empty, _call: Call) -> Empty:
        """Do nothing, because requests end at once."""
        return Empty()

    def invoke(self, request: provider_pb2.InvokeRequest, _call: Call) -> provider_pb2.InvokeResponse:
        """Return the result from the table of functions, or the arguments."""
        arguments = plain(decode(request.args))
        self.recorder.write("invoke", request.tok, arguments)
        answer = _filled(aws.FUNCTIONS.get(request.tok, {}), {**arguments, "hex": aws.digits(request.tok)})
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(encode({"id": request.tok, **arguments, **answer}))
        return response

    def check(self, request: provider_pb2.CheckRequest, _call: Call) -> provider_pb2.CheckResponse:
        """Generate a missing name, or keep the earlier one."""
        news, olds = decode(request.news), decode(request.olds)
        resource_type, _, name = request.urn.split("::", 2)[2].rpartition("$")[2].partition("::")
        generated = f"{name}-{request.randomSeed.hex()[:7]}"
        if self.package == "kubernetes":
            metadata = section(news, "metadata")
            named = metadata.get("name") or section(olds, "metadata").get("name") or generated
            news = {**news, "metadata": {**metadata, "name": named}}
        elif (key := aws.NAMED_BY.get(resource_type)) and not news.get(key) and not news.get(f"{key}Prefix"):
            news[key] = olds.get(key) or generated
        return provider_pb2.CheckResponse(inputs=encode(news))

    def diff(self, request: provider_pb2.DiffRequest, _call: Call) -> provider_pb2.DiffResponse:
        """Return the changes; the table of AWS resources says which of them replace the resource."""
        changes = list(differences(decode(request.old_inputs), decode(request.news)))
        resource_type = _type_of(request.urn)
        replaced = {change.path for change in changes if _replaces(resource_type, change)}
        return diff_response(changes, replaced, delete_first=_keeps_its_name(request.urn, decode(request.news)))

    def create(self, request: provider_pb2.CreateRequest, call: Call) -> provider_pb2.CreateResponse:
        """Return the inputs and the outputs that a cloud would add."""
        inputs, preview = decode(request.properties), bool(request.preview)
        self.recorder.write("create", request.urn, inputs, preview=preview)
        if preview:
            return provider_pb2.CreateResponse(properties=encode(inputs))
        while self._order(request.urn).get("wait") and call.is_active():
            time.sleep(0.1)
        identity = self._id(request.urn, inputs)
        properties = encode(self._outputs(request.urn, identity, inputs))
        self._obey(request.urn, identity, properties, request.properties)
        return provider_pb2.CreateResponse(id=identity, properties=properties)

    def update(self, request: provider_pb2.UpdateRequest, _call: Call) -> provider_pb2.UpdateResponse:
        """Return the old outputs with the new inputs."""
        inputs, preview = decode(request.news), bool(request.preview)
        self.recorder.write("update", request.urn, inputs, preview=preview)
        properties = encode({**decode(request.olds), **inputs})
        if not preview:
            self._obey(request.urn, request.id, properties, request.news)
        return provider_pb2.UpdateResponse(properties=properties)

    def read(self, request: provider_pb2.ReadRequest, _call: Call) -> provider_pb2.ReadResponse:
        """Return the resource as created, or the `live` outputs of its order."""
        self.recorder.write("read", request.urn, {}, id=request.id)
        inputs, state = decode(request.inputs), decode(request.properties)
        order = self._order(request.urn)
        if "live" in order:
            live: Tree | None = order["live"]
            if live is None:
                return provider_pb2.ReadResponse()
            return provider_pb2.ReadResponse(
                id=request.id, properties=encode(live), inputs=encode(_pruned(live, inputs))
            )
        outputs = state or self._outputs(request.urn, request.id, inputs)
        return provider_pb2.ReadResponse(id=request.id, properties=encode(outputs), inputs=encode(inputs))

    def delete(self, request: provider_pb2.DeleteRequest, _call: Call) -> Empty:
        """Record the request."""
        self.recorder.write("delete", request.urn, {}, id=request.id)
        return Empty()

    def _order(self, urn: str) -> Mapping[str, Any]:
        resource_type, name = _type_of(urn), urn.rpartition("::")[2]
        return self.orders.get(f"{resource_type}::{name}") or self.orders.get(resource_type) or {}

    def _obey(self, urn: str, identity: str, properties: Struct, inputs: Struct) -> None:
        order = self._order(urn)
        if message := order.get("fail"):
            raise RefusalError(str(message))
        if message := order.get("unready"):
            raise UnreadyError(
                provider_pb2.ErrorResourceInitFailed(
                    id=identity, properties=properties, inputs=inputs, reasons=[str(message)]
                )
            )

    def _id(self, urn: str, inputs: Tree) -> str:
        if self.package == "kubernetes":
            metadata = section(plain(inputs), "metadata")
            return "/".join(str(metadata[part]) for part in ("namespace", "name") if metadata.get(part))
        return aws.id_of(_type_of(urn), urn, plain(inputs))

    def _outputs(self, urn: str, identity: str, inputs: Tree) -> Tree:
        if self.package == "kubernetes":
            return {**inputs, "metadata": {**section(inputs, "metadata"), "uid": aws.digits(urn, 32)}, "status": {}}
        resource_type = _type_of(urn)
        more = _filled(
            aws.OUTPUTS.get(resource_type, {}),
            {
                "id": identity,
                "hex": aws.digits(urn),
                **{key: text for key, text in plain(inputs).items() if key != "id"},
            },
        )
        made_up = {"arn": aws.arn_of(resource_type, identity), "region": aws.REGION, **more}
        return {**made_up, **{key: _merged(made_up.get(key), value) for key, value in inputs.items()}}


def _pruned(live: Json, declared: Json) -> Json:
    """Return the live values of the declared paths, as the `kubernetes` plugin does; lists keep that length."""
    if is_map(live) and is_map(declared):
        return {key: _pruned(live[key], declared[key]) for key in declared if key in live}
    if is_list(live) and is_list(declared):
        return [_pruned(one, other) for one, other in zip(live, declared, strict=False)]
    return live


def _type_of(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _replaces(resource_type: str, change: Difference) -> bool:
    path = property_path(change.path)
    rules = aws.REPLACES.get(resource_type, ())
    return any(path == rule or path.startswith((f"{rule}.", f"{rule}[")) for rule in rules)


def _keeps_its_name(urn: str, inputs: Tree) -> bool:
    """Return whether the program chose the name, so that the old resource must be deleted before its replacement."""
    key = aws.NAMED_BY.get(_type_of(urn), "")
    return bool(inputs.get(key)) and not re.fullmatch(rf"{urn.rpartition('::')[2]}-[0-9a-f]{{7}}", str(inputs[key]))


def _merged(made_up: Json, given: Json) -> Json:
    return {**made_up, **given} if is_map(made_up) and is_map(given) else given


def _filled(form: Json, values: Mapping[str, Json]) -> Json:
    if isinstance(form, str):
        return form.format_map({"account": aws.ACCOUNT, "region": aws.REGION, **values})
    if is_map(form):
        return {key: _filled(item, values) for key, item in form.items()}
    return [_filled(item, values) for item in form] if is_list(form) else form
