"""What the engine asks, answered for a cloud that is not there."""

import fcntl
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2

from tests.engine.recording import aws
from tests.engine.recording.differences import Difference, diff_response, differences, property_path
from tests.engine.recording.plugin import Call
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
    """Appends to a file that several plugins share."""

    file: Path | None

    def write(self, method: str, about: str, inputs: Tree, **more: Json) -> None:
        """One line: `method`, `about` (URN or function), `inputs` with `{"secret": ...}` around each secret."""
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
    """Records what the engine asks about the resources of one package, and answers as if all of it were done."""

    package: str
    recorder: Recorder

    def handshake(
        self, _request: provider_pb2.ProviderHandshakeRequest, _call: Call
    ) -> provider_pb2.ProviderHandshakeResponse:
        """What this plugin understands."""
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def get_plugin_info(self, _request: Empty, _call: Call) -> plugin_pb2.PluginInfo:
        """Answer with the version that the SDK asks for."""
        return plugin_pb2.PluginInfo(version=version(f"pulumi-{self.package}"))

    def get_schema(self, _request: provider_pb2.GetSchemaRequest, _call: Call) -> provider_pb2.GetSchemaResponse:
        """Names the package."""
        name = {"name": self.package, "version": version(f"pulumi-{self.package}")}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(name))

    def check_config(self, request: provider_pb2.CheckRequest, _call: Call) -> provider_pb2.CheckResponse:
        """Any configuration will do."""
        self.recorder.write("check_config", request.urn, decode(request.news))
        return provider_pb2.CheckResponse(inputs=request.news)

    def diff_config(self, request: provider_pb2.DiffRequest, _call: Call) -> provider_pb2.DiffResponse:
        """A provider is never replaced."""
        return diff_response(list(differences(decode(request.old_inputs), decode(request.news))), set())

    def configure(self, _request: provider_pb2.ConfigureRequest, _call: Call) -> provider_pb2.ConfigureResponse:
        """Nothing to connect to."""
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def cancel(self, _request: Empty, _call: Call) -> Empty:
        """Nothing to end."""
        return Empty()

    def invoke(self, request: provider_pb2.InvokeRequest, _call: Call) -> provider_pb2.InvokeResponse:
        """A known function's made-up answer, else its arguments."""
        arguments = plain(decode(request.args))
        self.recorder.write("invoke", request.tok, arguments)
        answer = _filled(aws.FUNCTIONS.get(request.tok, {}), {**arguments, "hex": aws.digits(request.tok)})
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(encode({"id": request.tok, **arguments, **answer}))
        return response

    def check(self, request: provider_pb2.CheckRequest, _call: Call) -> provider_pb2.CheckResponse:
        """Names what has to have a name; the name stays."""
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
        """What changes, and whether the table says that it replaces the resource."""
        changes = list(differences(decode(request.old_inputs), decode(request.news)))
        resource_type = _type_of(request.urn)
        replaced = {change.path for change in changes if _replaces(resource_type, change)}
        return diff_response(changes, replaced, delete_first=_keeps_its_name(request.urn, decode(request.news)))

    def create(self, request: provider_pb2.CreateRequest, _call: Call) -> provider_pb2.CreateResponse:
        """The inputs, and what the cloud would add."""
        inputs, preview = decode(request.properties), bool(request.preview)
        self.recorder.write("create", request.urn, inputs, preview=preview)
        if preview:
            return provider_pb2.CreateResponse(properties=encode(inputs))
        identity = self._id(request.urn, inputs)
        return provider_pb2.CreateResponse(id=identity, properties=encode(self._outputs(request.urn, identity, inputs)))

    def update(self, request: provider_pb2.UpdateRequest, _call: Call) -> provider_pb2.UpdateResponse:
        """The new inputs over the old outputs."""
        inputs, preview = decode(request.news), bool(request.preview)
        self.recorder.write("update", request.urn, inputs, preview=preview)
        return provider_pb2.UpdateResponse(properties=encode({**decode(request.olds), **inputs}))

    def read(self, request: provider_pb2.ReadRequest, _call: Call) -> provider_pb2.ReadResponse:
        """Everything is still as it was made."""
        self.recorder.write("read", request.urn, {}, id=request.id)
        inputs, state = decode(request.inputs), decode(request.properties)
        outputs = state or self._outputs(request.urn, request.id, inputs)
        return provider_pb2.ReadResponse(id=request.id, properties=encode(outputs), inputs=encode(inputs))

    def delete(self, request: provider_pb2.DeleteRequest, _call: Call) -> Empty:
        """It is written down, and that is all."""
        self.recorder.write("delete", request.urn, {}, id=request.id)
        return Empty()

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


def _type_of(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _replaces(resource_type: str, change: Difference) -> bool:
    path = property_path(change.path)
    rules = aws.REPLACES.get(resource_type, ())
    return any(path == rule or path.startswith((f"{rule}.", f"{rule}[")) for rule in rules)


def _keeps_its_name(urn: str, inputs: Tree) -> bool:
    """Whether its name was given: then the new one can only be made once the old one is gone, as the bridge does it."""
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
