"""What the engine asks, answered for Kubernetes."""

import os
import threading
from importlib.metadata import version
from typing import Final

from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2

from lab.providers.diff_response import diff_response
from lab.providers.differences import Difference, differences, property_path
from lab.providers.kubernetes import creating, outputs, replacement, settings
from lab.providers.kubernetes.api import UnreachableError
from lab.providers.kubernetes.bodies import INTERNAL, body_of, left_as_it_is
from lab.providers.kubernetes.checking import ONLY_OFFICIAL, InvalidInputError, Naming, checked, not_an_object
from lab.providers.kubernetes.cluster import RefusedError
from lab.providers.kubernetes.connection import Connection
from lab.providers.kubernetes.inputs import drifted, imported
from lab.providers.kubernetes.objects import (
    AUTONAMED,
    DELETE_PROPAGATION,
    Token,
    annotation,
    field_manager,
    identity,
    is_autonamed,
    name_of,
    namespace_of,
    parse_identity,
    parse_type,
    propagation_of,
)
from lab.providers.kubernetes.unconfirmed import Unconfirmed, unmarked
from lab.providers.kubernetes.waiting import (
    NotReadyError,
    Patience,
    is_awaited,
    not_ready,
    seconds_for,
    until_gone,
    until_ready,
)
from lab.providers.plugin import Call, EngineLog, InitializationFailedError
from lab.providers.values import Path, Tree, decode, encode, plain, secret_paths, section, with_secrets

VERSION: Final = version("pulumi-kubernetes")
DROPPED: Final = "The cluster does not answer; dropped from the state (deleteUnreachable)"


class KubernetesProvider:
    """One provider resource of a program; the engine starts a process for each."""

    def __init__(self, engine: str | None) -> None:
        """`engine`: the address at which the engine takes messages."""
        parent = os.getppid()
        self._messages = EngineLog(engine)
        self._connection = Connection(settings.ProviderSettings(), self._messages)
        self._stopping = threading.Event()
        self._unconfirmed = Unconfirmed(alive=lambda: os.getppid() == parent)

    def confirm_created(self) -> None:
        """Runs beside the requests: see `unconfirmed`."""
        while not self._stopping.wait(1):
            self._unconfirmed.confirm()

    # The provider itself

    def handshake(
        self, _request: provider_pb2.ProviderHandshakeRequest, _call: Call
    ) -> provider_pb2.ProviderHandshakeResponse:
        """What this plugin understands."""
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def get_plugin_info(self, _request: Empty, _call: Call) -> plugin_pb2.PluginInfo:
        """It stands in for the version that the SDK asks for."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def get_schema(self, _request: provider_pb2.GetSchemaRequest, _call: Call) -> provider_pb2.GetSchemaResponse:
        """Names the package; it describes no types, so `pulumi import` writes no code."""
        return provider_pb2.GetSchemaResponse(schema=f'{{"name": "kubernetes", "version": "{VERSION}"}}')

    def check_config(self, request: provider_pb2.CheckRequest, _call: Call) -> provider_pb2.CheckResponse:
        """Names arguments that only the official plugin heeds."""
        failures = [
            provider_pb2.CheckFailure(property=name, reason=reason)
            for name, reason in settings.refusals(decode(request.news)).items()
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def diff_config(self, request: provider_pb2.DiffRequest, _call: Call) -> provider_pb2.DiffResponse:
        """Another cluster makes another provider, and so replaces everything on it."""
        old, new = decode(request.old_inputs), decode(request.news)
        changes = list(differences(old, new))
        moved = [change for change in changes if settings.moves(change.path[0], old, new)]
        return diff_response(changes, {change.path for change in moved})

    def configure(self, request: provider_pb2.ConfigureRequest, _call: Call) -> provider_pb2.ConfigureResponse:
        """Reads the arguments; the cluster is only asked when it is needed."""
        self._connection = Connection(settings.read(decode(request.args)), self._messages)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def cancel(self, _request: Empty, _call: Call) -> Empty:
        """Ends all waiting. The engine also sends this at the end of each run."""
        self._stopping.set()
        self._unconfirmed.confirm(everything=True)
        return Empty()

    def construct(self, request: provider_pb2.ConstructRequest, _call: Call) -> provider_pb2.ConstructResponse:
        """No component is known here."""
        raise RefusedError(f"{request.type}: {ONLY_OFFICIAL.format(what='components', version=VERSION)}")

    def invoke(self, request: provider_pb2.InvokeRequest, _call: Call) -> provider_pb2.InvokeResponse:
        """No function is known here."""
        raise RefusedError(f"{request.tok}: {ONLY_OFFICIAL.format(what='functions', version=VERSION)}")

    # Resources

    def check(self, request: provider_pb2.CheckRequest, _call: Call) -> provider_pb2.CheckResponse:
        """Fills in kind, namespace and name."""
        resource_type = request.urn.split("::")[2].rpartition("$")[2]
        if not_an_object(resource_type):
            raise RefusedError(f"{resource_type}: {ONLY_OFFICIAL.format(what='charts or YAML files', version=VERSION)}")
        news, olds, options = decode(request.news), decode(request.olds), request.autonaming
        naming = Naming(
            resource=request.urn.split("::", 3)[3],
            seed=request.randomSeed,
            proposed=options.proposed_name,
            required=options.mode == provider_pb2.CheckRequest.AutonamingOptions.DISABLE,
        )
        if olds:
            self._unconfirmed.know(olds)
        try:
            inputs = checked(
                news, olds, parse_type(resource_type), naming, namespace_for=self._connection.namespace_for
            )
        except InvalidInputError as invalid:
            failure = provider_pb2.CheckFailure(property=invalid.where, reason=invalid.reason)
            return provider_pb2.CheckResponse(inputs=request.news, failures=[failure])
        return provider_pb2.CheckResponse(inputs=encode(inputs))

    def diff(self, request: provider_pb2.DiffRequest, _call: Call) -> provider_pb2.DiffResponse:
        """What changes, and whether an update can make it."""
        token, old, new = _token(request.urn), decode(request.old_inputs), decode(request.news)
        changes = [change for change in differences(old, new) if not _is_ours(change, token)]
        if not changes:
            return diff_response([], set())
        mutable = self._connection.settings.mutable_data
        replaced = replacement.must_replace(token.kind, plain(old), plain(new), changes, mutable_data=mutable)
        if not replaced and not token.patch:
            manager = _manager(request.urn, decode(request.olds))
            replaced = _under(self._connection.immutable_fields(new, manager), changes)
        same_place = name_of(old) == name_of(new) and namespace_of(old) == namespace_of(new)
        return diff_response(changes, replaced, delete_first=bool(replaced) and same_place and not is_autonamed(new))

    def create(self, request: provider_pb2.CreateRequest, call: Call) -> provider_pb2.CreateResponse:
        """Makes the object and waits until it is ready."""
        inputs, manager = decode(request.properties), field_manager(request.urn)
        if request.preview:
            answer = self._connection.dry_run(request.urn, inputs, manager) or body_of(inputs)
            tree = outputs.outputs(outputs.preview_of_create(answer, inputs), inputs, manager=manager)
            return provider_pb2.CreateResponse(properties=encode(tree))
        body = body_of(inputs)
        patience = self._patience(request.urn, body, request.timeout, call)
        if _token(request.urn).patch:
            live = self._apply(request.urn, body, manager)
        else:
            live = creating.create(self._connection, self._unconfirmed, request.urn, body, patience)
        try:
            tree = self._awaited(live, inputs, manager, patience)
        finally:
            if is_autonamed(body):
                self._unconfirmed.confirm_later(self._connection.cluster(), live, manager)
        return provider_pb2.CreateResponse(id=identity(live), properties=encode(tree))

    def update(self, request: provider_pb2.UpdateRequest, call: Call) -> provider_pb2.UpdateResponse:
        """Applies the change and waits until the object is ready again."""
        inputs, state = decode(request.news), decode(request.olds)
        manager, body = _manager(request.urn, state), body_of(inputs)
        if request.preview:
            answer = self._connection.dry_run(request.urn, inputs, manager)
            shown = outputs.preview_of_update(answer or outputs.guess(body, plain(state)))
            return provider_pb2.UpdateResponse(properties=encode(outputs.outputs(shown, inputs, manager=manager)))
        if request.ignoreChanges:
            live = self._connection.cluster().get_like(body)
            body = left_as_it_is(body, live, list(request.ignoreChanges))
        patience = self._patience(request.urn, body, request.timeout, call)
        tree = self._awaited(self._apply(request.urn, body, manager), inputs, manager, patience)
        return provider_pb2.UpdateResponse(properties=encode(tree))

    def read(self, request: provider_pb2.ReadRequest, _call: Call) -> provider_pb2.ReadResponse:
        """The live object; the inputs tell of drift in what the program sets."""
        inputs, state = decode(request.inputs), decode(request.properties)
        manager = _manager(request.urn, state)
        try:
            live = self._find(request, inputs or state)
        except UnreachableError:
            if not self._connection.settings.delete_unreachable:
                raise
            self._messages.warn(request.urn, DROPPED)
            live = None
        if live is None:
            return provider_pb2.ReadResponse()
        self._unconfirmed.know(live)
        live = unmarked(live)
        if not inputs:
            taken = outputs.hidden(imported(live))
            tree = outputs.outputs(live, taken, manager=manager)
            return provider_pb2.ReadResponse(id=identity(live), properties=encode(tree), inputs=encode(taken))
        seen = outputs.hidden(with_secrets(drifted(plain(inputs), live), secret_paths(inputs)))
        tree = outputs.outputs(live, inputs, manager=manager)
        if is_awaited(live) and (reasons := not_ready(self._connection.cluster(), live)):
            raise InitializationFailedError(identity=identity(live), outputs=tree, inputs=seen, reasons=reasons)
        return provider_pb2.ReadResponse(id=identity(live), properties=encode(tree), inputs=encode(seen))

    def delete(self, request: provider_pb2.DeleteRequest, call: Call) -> Empty:
        """Returns when the object is gone, and the Pods that it owns."""
        token, state = _token(request.urn), plain(decode(request.properties))
        namespace, name = parse_identity(request.id)
        tree: Tree = {
            **state,
            "apiVersion": state.get("apiVersion") or token.api_version,
            "kind": token.kind,
            "metadata": {**section(state, "metadata"), "namespace": namespace, "name": name},
        }
        try:
            cluster = self._connection.cluster()
            if token.patch:
                cluster.let_go(tree, manager=_manager(request.urn, state))
                return Empty()
            cluster.delete(tree, propagation=annotation(tree, DELETE_PROPAGATION) or propagation_of(tree))
            if is_awaited(tree):
                until_gone(cluster, tree, self._patience(request.urn, tree, request.timeout, call))
        except UnreachableError:
            if not self._connection.settings.delete_unreachable:
                raise
            self._messages.warn(request.urn, DROPPED)
        return Empty()

    def _find(self, request: provider_pb2.ReadRequest, known: Tree) -> Tree | None:
        token = _token(request.urn)
        namespace, name = parse_identity(request.id)
        cluster = self._connection.cluster()
        api_version = str(known.get("apiVersion") or token.api_version)
        return cluster.get(api_version, token.kind, namespace or self._connection.namespace_for(token), name)

    def _apply(self, urn: str, body: Tree, manager: str) -> Tree:
        force, warn = self._connection.force(body), self._connection.warns(urn)
        return self._connection.cluster().apply_patiently(body, manager=manager, force=force, warn=warn)

    def _awaited(self, live: Tree, inputs: Tree, manager: str, patience: Patience) -> Tree:
        """The outputs once the object is ready; InitializationFailedError keeps it in the state where it is not."""
        try:
            if is_awaited(live):
                live = until_ready(self._connection.cluster(), live, patience)
        except NotReadyError as error:
            tree = outputs.outputs(unmarked(error.live), inputs, manager=manager)
            raise InitializationFailedError(
                identity=identity(error.live), outputs=tree, inputs=inputs, reasons=error.reasons
            ) from error
        return outputs.outputs(unmarked(live), inputs, manager=manager)

    def _patience(self, urn: str, tree: Tree, custom_timeout: float, call: Call) -> Patience:
        return Patience(
            seconds=seconds_for(tree, custom_timeout),
            go_on=lambda: call.is_active() and not self._stopping.is_set(),
            say=lambda message: self._messages.status(urn, message),
        )


def _token(urn: str) -> Token:
    return parse_type(urn.split("::")[2])


def _manager(urn: str, state: Tree) -> str:
    """The one that made the object, whatever its URN was then."""
    return str(state.get(outputs.FIELD_MANAGER) or field_manager(urn))


def _is_ours(change: Difference, token: Token) -> bool:
    """Whether the program has no part in a change: book-keeping, or a custom kind whose scope was not known before."""
    found_later = not token.built_in and change.path == ("metadata", "namespace") and change.kind != "update"
    mark = ("metadata", "annotations", AUTONAMED)
    return str(change.path[0]).startswith(INTERNAL) or change.path == mark or found_later


def _under(fields: list[str], changes: list[Difference]) -> set[Path]:
    """The changes below the fields that the server names; all of them where none is."""
    if not fields:
        return set()
    named = {change.path for change in changes if property_path(change.path).startswith(tuple(fields))}
    return named or {change.path for change in changes}
