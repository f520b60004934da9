"""What the engine asks, answered for Kubernetes."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2

from lab.providers.diff_response import diff_response
from lab.providers.differences import Difference, differences, property_path
from lab.providers.kubernetes import outputs, replacement, settings
from lab.providers.kubernetes.api import Api, ApiError, UnknownKindError, UnreachableError
from lab.providers.kubernetes.checking import (
    ONLY_OFFICIAL,
    InvalidInputError,
    Naming,
    checked,
    is_cluster_scoped,
    not_an_object,
)  # fmt: skip
from lab.providers.kubernetes.cluster import Cluster, RefusedError, sentence
from lab.providers.kubernetes.inputs import drifted, imported
from lab.providers.kubernetes.kubeconfig import KubeconfigError
from lab.providers.kubernetes.objects import (
    AUTONAMED,
    DELETE_PROPAGATION,
    PATCH_FORCE,
    Token,
    annotation,
    field_manager,
    identity,
    is_autonamed,
    is_managed_by,
    name_of,
    namespace_of,
    parse_identity,
    parse_type,
    propagation_of,
    title,
)  # fmt: skip
from lab.providers.kubernetes.unconfirmed import Unconfirmed, marked, unmarked
from lab.providers.kubernetes.waiting import (
    NotReadyError,
    Patience,
    is_awaited,
    not_ready,
    seconds_for,
    until_gone,
    until_ready,
)  # fmt: skip
from lab.providers.plugin import Call, EngineLog, InitializationFailedError, RefusalError
from lab.providers.values import (
    Json,
    Path,
    Tree,
    decode,
    encode,
    has_unknown,
    is_list,
    is_map,
    look_up,
    plain,
    secret_paths,
    section,
    with_secrets,
)  # fmt: skip

VERSION: Final = version("pulumi-kubernetes")
INTERNAL: Final = "__"


@dataclass(frozen=True)
class Subject:
    """The resource that a request is about."""

    urn: str
    token: Token

    @classmethod
    def at(cls, urn: str) -> "Subject":
        """Every request about a resource has its URN."""
        return cls(urn, parse_type(urn.split("::")[2]))


class KubernetesProvider:
    """One provider resource of a program; the engine starts a process for each."""

    def __init__(self, engine: str | None) -> None:
        """`engine`: the address at which the engine takes messages."""
        parent = os.getppid()
        self._log = EngineLog(engine)
        self._settings = settings.ProviderSettings()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._cluster: Cluster | None = None
        self._unreachable: RefusalError | None = None
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
        moved = [change for change in changes if _moves(change.path[0], old, new)]
        return diff_response(changes, {change.path for change in moved})

    def configure(self, request: provider_pb2.ConfigureRequest, _call: Call) -> provider_pb2.ConfigureResponse:
        """Reads the arguments; the cluster is only asked when it is needed."""
        self._settings = settings.read(decode(request.args))
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
        olds = decode(request.olds)
        options = request.autonaming
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
                decode(request.news), olds, Subject.at(request.urn).token, naming, namespace_for=self._default_namespace
            )
        except InvalidInputError as invalid:
            failure = provider_pb2.CheckFailure(property=invalid.where, reason=invalid.reason)
            return provider_pb2.CheckResponse(inputs=request.news, failures=[failure])
        return provider_pb2.CheckResponse(inputs=encode(inputs))

    def _default_namespace(self, token: Token) -> str | None:
        scoped = is_cluster_scoped(token)
        if scoped is None and (cluster := self._reach()):
            kind = cluster.kind_of(token.api_version, token.kind)
            scoped = None if kind is None else not kind.namespaced
        if scoped is not False:
            return None
        try:
            return self._settings.namespace or self._access_namespace()
        except KubeconfigError:
            return "default"

    def _access_namespace(self) -> str:
        cluster = self._connect()
        return cluster.api.namespace

    def diff(self, request: provider_pb2.DiffRequest, _call: Call) -> provider_pb2.DiffResponse:
        """What changes, and whether an update can make it."""
        subject = Subject.at(request.urn)
        old, new = decode(request.old_inputs), decode(request.news)
        changes = [change for change in differences(old, new) if not _is_internal(change.path)]
        if not changes:
            return diff_response([], set())
        replaced = replacement.must_replace(
            subject.token.kind, plain(old), plain(new), changes, mutable_data=self._settings.mutable_data
        )
        if not replaced and not subject.token.patch:
            replaced = self._refused_paths(subject, decode(request.olds), new, changes)
        same_place = name_of(old) == name_of(new) and namespace_of(old) == namespace_of(new)
        return diff_response(changes, replaced, delete_first=bool(replaced) and same_place and not is_autonamed(new))

    def _refused_paths(self, subject: Subject, state: Tree, new: Tree, changes: list[Difference]) -> set[Path]:
        """Those changes that the server refuses in a dry run, because the field is immutable."""
        cluster = None if has_unknown(new) else self._reach()
        if cluster is None:
            return set()
        try:
            cluster.apply(_body(new), manager=_manager(subject, state), force=True, dry_run=True)
        except ApiError as error:
            fields = replacement.refused_as_immutable(error)
            if not fields:
                return set()
            under = {change.path for change in changes if property_path(change.path).startswith(tuple(fields))}
            return under or {change.path for change in changes}
        except UnreachableError as error:
            self._do_without(error)
        except UnknownKindError:
            pass  # its definition is made in the same update
        return set()

    def create(self, request: provider_pb2.CreateRequest, call: Call) -> provider_pb2.CreateResponse:
        """Makes the object and waits until it is ready."""
        subject, inputs = Subject.at(request.urn), decode(request.properties)
        manager = field_manager(subject.urn)
        if request.preview:
            answer = self._dry_run(subject, inputs, manager) or _body(inputs)
            tree = outputs.outputs(outputs.preview_of_create(answer, inputs), inputs, manager=manager)
            return provider_pb2.CreateResponse(id="", properties=encode(tree))
        cluster, body = self._connect(), _body(inputs)
        patience = self._patience(subject, body, request.timeout, call)
        live = self._make(cluster, subject, body, patience)
        tree = self._awaited(cluster, live, inputs, manager, patience)
        if is_autonamed(body):
            self._unconfirmed.confirm_later(cluster, live, manager)
        return provider_pb2.CreateResponse(id=identity(live), properties=encode(tree))

    def _make(self, cluster: Cluster, subject: Subject, body: Tree, patience: Patience) -> Tree:
        manager, warn = field_manager(subject.urn), self._warner(subject)
        force = self._force(body)
        if subject.token.patch:
            return cluster.apply_patiently(body, manager=manager, force=force, warn=warn)
        if is_autonamed(body):
            for left in self._unconfirmed.left_over(cluster, body, manager):
                self._log.info(subject.urn, f"Removing {title(left)}, which an interrupted update left behind")
                cluster.delete(left, propagation="Background")
            body = marked(body)
        existing = cluster.get_like(body)
        if existing and section(existing, "metadata").get("deletionTimestamp"):
            until_gone(cluster, body, patience)
            existing = None
        if existing and not is_managed_by(existing, manager) and not self._settings.upsert:
            raise RefusedError(
                f"{title(body)} already exists, and not from this resource. Take it over with `pulumi import` or the "
                "`import_` option, delete it, or set `upsertExistingObjects` on the provider"
            )
        try:
            return cluster.apply_patiently(body, manager=manager, force=force, warn=warn)
        except RefusedError as refused:
            cause = refused.__cause__
            if not existing or not isinstance(cause, ApiError) or not replacement.refused_as_immutable(cause):
                raise
        # An interrupted run made it for this very resource, and differently.
        cluster.delete(body, propagation=propagation_of(body))
        until_gone(cluster, body, patience)
        return cluster.apply_patiently(body, manager=manager, force=force, warn=warn)

    def update(self, request: provider_pb2.UpdateRequest, call: Call) -> provider_pb2.UpdateResponse:
        """Applies the change and waits until the object is ready again."""
        subject, inputs, state = Subject.at(request.urn), decode(request.news), decode(request.olds)
        manager = _manager(subject, state)
        if request.preview:
            answer = self._dry_run(subject, inputs, manager)
            shown = outputs.preview_of_update(answer) if answer else _guess(inputs, state)
            return provider_pb2.UpdateResponse(properties=encode(outputs.outputs(shown, inputs, manager=manager)))
        cluster, body = self._connect(), _body(inputs)
        if request.ignoreChanges:
            body = _leave_as_they_are(body, cluster.get_like(body), list(request.ignoreChanges))
        patience = self._patience(subject, body, request.timeout, call)
        live = cluster.apply_patiently(body, manager=manager, force=self._force(body), warn=self._warner(subject))
        tree = self._awaited(cluster, live, inputs, manager, patience)
        return provider_pb2.UpdateResponse(properties=encode(tree))

    def _awaited(self, cluster: Cluster, live: Tree, inputs: Tree, manager: str, patience: Patience) -> Tree:
        """The outputs once the object is ready; InitializationFailedError keeps it in the state where it is not."""
        try:
            if is_awaited(live):
                live = until_ready(cluster, live, patience)
        except NotReadyError as error:
            raise InitializationFailedError(
                identity=identity(error.live),
                outputs=outputs.outputs(unmarked(error.live), inputs, manager=manager),
                inputs=inputs,
                reasons=error.reasons,
            ) from error
        return outputs.outputs(unmarked(live), inputs, manager=manager)

    def read(self, request: provider_pb2.ReadRequest, _call: Call) -> provider_pb2.ReadResponse:
        """The live object; `inputs` tell of drift in what the program sets."""
        subject, inputs, state = Subject.at(request.urn), decode(request.inputs), decode(request.properties)
        namespace, name = parse_identity(request.id)
        api_version = str(inputs.get("apiVersion") or state.get("apiVersion") or subject.token.api_version)
        cluster = self._connect()
        try:
            namespace = namespace or self._default_namespace(subject.token)
            live = cluster.get(api_version, subject.token.kind, namespace, name)
        except UnreachableError:
            if not self._settings.delete_unreachable:
                raise
            self._log.warn(subject.urn, "The cluster does not answer; dropped from the state (deleteUnreachable)")
            live = None
        if live is None:
            return provider_pb2.ReadResponse()
        self._unconfirmed.know(live)
        live, manager = unmarked(live), _manager(subject, state)
        if not inputs:
            taken = outputs.hidden(imported(live))
            tree = outputs.outputs(live, taken, manager=manager)
            return provider_pb2.ReadResponse(id=identity(live), properties=encode(tree), inputs=encode(taken))
        seen = outputs.hidden(with_secrets(drifted(plain(inputs), live), list(secret_paths(inputs))))
        tree = outputs.outputs(live, inputs, manager=manager)
        if is_awaited(live) and (reasons := not_ready(cluster, live)):
            raise InitializationFailedError(identity=identity(live), outputs=tree, inputs=seen, reasons=reasons)
        return provider_pb2.ReadResponse(id=identity(live), properties=encode(tree), inputs=encode(seen))

    def delete(self, request: provider_pb2.DeleteRequest, call: Call) -> Empty:
        """Returns when the object is gone, and all that it owns."""
        subject, state = Subject.at(request.urn), plain(decode(request.properties))
        namespace, name = parse_identity(request.id)
        tree: Tree = {
            **state,
            "apiVersion": state.get("apiVersion") or subject.token.api_version,
            "kind": subject.token.kind,
            "metadata": {**section(state, "metadata"), "namespace": namespace, "name": name},
        }
        try:
            cluster = self._connect()
            if subject.token.patch:
                self._let_go(cluster, tree, _manager(subject, state))
                return Empty()
            cluster.delete(tree, propagation=annotation(tree, DELETE_PROPAGATION) or propagation_of(tree))
            if is_awaited(tree):
                until_gone(cluster, tree, self._patience(subject, tree, request.timeout, call))
        except UnreachableError:
            if not self._settings.delete_unreachable:
                raise
            self._log.warn(subject.urn, "The cluster does not answer; dropped from the state (deleteUnreachable)")
        return Empty()

    def _let_go(self, cluster: Cluster, tree: Tree, manager: str) -> None:
        """A Patch resource ends: its fields go, the object stays."""
        metadata = {key: text for key, text in section(tree, "metadata").items() if key in {"name", "namespace"}}
        bare = {"apiVersion": tree["apiVersion"], "kind": tree["kind"], "metadata": metadata}
        if cluster.get_like(bare):
            cluster.apply(bare, manager=manager, force=False)

    # The cluster

    def _connect(self) -> Cluster:
        with self._lock:
            if self._cluster is None:
                access = self._settings.access()
                self._cluster = Cluster(Api(access, timeout_seconds=self._settings.timeout_seconds))
            return self._cluster

    def _reach(self) -> Cluster | None:
        """The cluster, or None when a preview has to do without; the user reads once why."""
        if self._unreachable:
            return None
        try:
            return self._connect()
        except KubeconfigError as error:
            self._do_without(error)
            return None

    def _do_without(self, error: RefusalError) -> None:
        with self._lock:
            first, self._unreachable = self._unreachable is None, error
        if first:
            self._log.warn("", f"This preview was not checked by the cluster: {error}")

    def _dry_run(self, subject: Subject, inputs: Tree, manager: str) -> Tree | None:
        """The object as the server would have it; None where only the update will tell."""
        cluster = None if has_unknown(inputs) else self._reach()
        if cluster is None:
            return None
        body = _body(inputs)
        try:
            return cluster.apply(
                body, manager=manager, force=self._force(body), dry_run=True, warn=self._warner(subject)
            )
        except UnreachableError as error:
            self._do_without(error)
        except UnknownKindError:
            pass  # its definition is made in the same update
        except ApiError as error:
            # Its namespace is made in the same update, or it takes the place of one that is deleted first.
            if error.code != 404 and not replacement.refused_as_immutable(error):
                raise RefusedError(sentence(error, title(body))) from error
        return None

    def _force(self, body: Tree) -> bool:
        return self._settings.patch_force or annotation(body, PATCH_FORCE) == "true"

    def _warner(self, subject: Subject) -> Callable[[str], None]:
        return lambda message: self._log.warn(subject.urn, message)

    def _patience(self, subject: Subject, tree: Tree, custom_timeout: float, call: Call) -> Patience:
        return Patience(
            seconds=seconds_for(tree, custom_timeout),
            go_on=lambda: call.is_active() and not self._stopping.is_set(),
            say=lambda message: self._log.status(subject.urn, message),
        )


def _body(inputs: Tree) -> Tree:
    """What is sent: the inputs without marks and without what is null."""
    return {key: _without_null(value) for key, value in plain(inputs).items() if not key.startswith(INTERNAL)}


def _without_null(value: Json) -> Json:
    if is_map(value):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    if is_list(value):
        return [_without_null(item) for item in value]
    return value


def _manager(subject: Subject, state: Tree) -> str:
    """The one that made the object, whatever its URN was then."""
    return str(state.get(outputs.FIELD_MANAGER) or field_manager(subject.urn))


def _guess(inputs: Tree, state: Tree) -> Tree:
    """A preview of an update that the server cannot be asked about."""
    return {**_body(inputs), "metadata": {**section(plain(state), "metadata"), **section(_body(inputs), "metadata")}}


def _leave_as_they_are(body: Tree, live: Tree | None, paths: list[str]) -> Tree:
    """`body` with the live value at each of the ignored paths, so that the update takes nothing from another owner."""
    for text in paths:
        path = tuple(text.split("."))
        value = look_up(live, path)
        if value is not None and look_up(body, path) is not None:
            section(body, *path[:-1])[path[-1]] = value
    return body


def _is_internal(path: Path) -> bool:
    return str(path[0]).startswith(INTERNAL) or path == ("metadata", "annotations", AUTONAMED)


def _moves(part: str | int, old: Tree, new: Tree) -> bool:
    """Whether a change of this provider argument leads to another cluster."""
    if part == "clusterIdentifier":
        return True
    if part not in {"kubeconfig", "context", "cluster"} or "clusterIdentifier" in new or has_unknown(new):
        return False
    try:
        return settings.read(old).access().server != settings.read(new).access().server
    except (KubeconfigError, OSError, KeyError):
        return False
