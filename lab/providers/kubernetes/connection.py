"""The provider's cluster: reached when it is first needed, and done without where a preview can."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.providers.kubernetes.api import Api, ApiError, UnknownKindError, UnreachableError
from lab.providers.kubernetes.bodies import body_of
from lab.providers.kubernetes.checking import is_cluster_scoped
from lab.providers.kubernetes.cluster import Cluster, RefusedError, sentence
from lab.providers.kubernetes.kubeconfig import KubeconfigError
from lab.providers.kubernetes.objects import PATCH_FORCE, Token, annotation, title
from lab.providers.kubernetes.replacement import refused_as_immutable
from lab.providers.kubernetes.settings import ProviderSettings
from lab.providers.plugin import EngineLog, RefusalError
from lab.providers.values import Tree, has_unknown


@dataclass
class Connection:
    """What is known of one cluster, shared by all requests."""

    settings: ProviderSettings
    messages: EngineLog
    _cluster: Cluster | None = None
    _missing: RefusalError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cluster(self) -> Cluster:
        """For an update; KubeconfigError where no cluster is named."""
        with self._lock:
            if self._cluster is None:
                self._cluster = Cluster(Api(self.settings.access(), timeout_seconds=self.settings.timeout_seconds))
            return self._cluster

    def cluster_if_there(self) -> Cluster | None:
        """For a preview; None once it was found missing, of which the user reads."""
        if self._missing:
            return None
        try:
            return self.cluster()
        except KubeconfigError as error:
            self._do_without(error)
            return None

    def _do_without(self, error: RefusalError) -> None:
        with self._lock:
            first, self._missing = self._missing is None, error
        if first:
            self.messages.warn("", f"This preview was not checked by the cluster: {error}")

    def namespace_for(self, token: Token) -> str | None:
        """Where an object of this kind goes that names no namespace; None outside of namespaces, or not known yet."""
        scoped = is_cluster_scoped(token)
        if scoped is None and (cluster := self.cluster_if_there()):
            try:
                scoped = not cluster.api.kind(token.api_version, token.kind).namespaced
            except UnreachableError as error:
                self._do_without(error)
            except UnknownKindError:
                return None
        if scoped is not False:
            return None
        try:
            return self.cluster().api.namespace
        except KubeconfigError:
            return self.settings.namespace or "default"

    def force(self, body: Tree) -> bool:
        """Whether fields are taken from other owners."""
        return self.settings.patch_force or annotation(body, PATCH_FORCE) == "true"

    def warns(self, urn: str) -> Callable[[str], None]:
        """Passes the API server's warnings on."""
        return lambda message: self.messages.warn(urn, message)

    def dry_run(self, urn: str, inputs: Tree, manager: str) -> Tree | None:
        """The object as the server would have it; None where only the update will tell."""
        body = body_of(inputs)
        try:
            return self._dry_run(inputs, body, manager, force=self.force(body), warn=self.warns(urn))
        except ApiError as error:
            # Its namespace is made in the same update, or it takes the place of one that is deleted first.
            if error.code != 404 and not refused_as_immutable(error):
                raise RefusedError(sentence(error, title(body))) from error
        return None

    def immutable_fields(self, inputs: Tree, manager: str) -> list[str]:
        """Fields of the new inputs that the server refuses to change; empty where it does not, or cannot be asked."""
        try:
            self._dry_run(inputs, body_of(inputs), manager, force=True, warn=None)
        except ApiError as error:
            return refused_as_immutable(error)
        return []

    def _dry_run(
        self, inputs: Tree, body: Tree, manager: str, *, force: bool, warn: Callable[[str], None] | None
    ) -> Tree | None:
        cluster = None if has_unknown(inputs) else self.cluster_if_there()
        if cluster is None:
            return None
        try:
            return cluster.apply(body, manager=manager, force=force, dry_run=True, warn=warn)
        except UnreachableError as error:
            self._do_without(error)
        except UnknownKindError:
            pass  # its definition is made in the same update
        return None
