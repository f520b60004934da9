"""Reading, applying and deleting objects, with the API server's refusals put into sentences."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lab.providers.kubernetes.api import APPLY, MERGE, METADATA_ONLY, Api, ApiError, UnknownKindError
from lab.providers.kubernetes.objects import is_managed_by, name_of, namespace_of, title
from lab.providers.kubernetes.pods import LOG_LINES
from lab.providers.plugin import RefusalError
from lab.providers.values import Tree, entries, is_list, look_up, section

RETRIES_FOR_SECONDS: Final = 15  # a definition just established, a namespace just made, a webhook just starting
LOG_BYTES: Final = 16 * 1024


class RefusedError(RefusalError):
    """One sentence: what was refused, why, and where there is one the way out."""


@dataclass(frozen=True)
class Cluster:
    """One cluster as this provider uses it."""

    api: Api

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Tree | None:
        """One object, or None."""
        try:
            return self.api.request("GET", self.api.kind(api_version, kind).path(namespace, name))
        except UnknownKindError:
            return None
        except ApiError as error:
            if error.code == 404:
                return None
            raise _sentence(error, f"{kind} {f'{namespace}/' if namespace else ''}{name}") from error

    def get_like(self, tree: Tree) -> Tree | None:
        """The live object that `tree` describes, or None."""
        return self.get(tree["apiVersion"], tree["kind"], namespace_of(tree), name_of(tree))

    def find(
        self, api_version: str, kind: str, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> list[Tree]:
        """Those that match both selectors; none where the kind is not served or may not be read."""
        query = {key: text for key, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}
        try:
            return entries(
                self.api.request("GET", self.api.kind(api_version, kind).path(namespace), query=query), "items"
            )
        except (UnknownKindError, ApiError):
            return []

    def log(self, namespace: str | None, pod: str, container: str, *, previous: bool) -> str:
        """The last lines of a container (with `previous`: of its run before this one), or nothing."""
        query = {"container": container, "tailLines": str(LOG_LINES), "limitBytes": str(LOG_BYTES)}
        path = f"{self.api.kind('v1', 'Pod').path(namespace, pod)}/log"
        try:
            return self.api.text(path, {**query, "previous": "true"} if previous else query)
        except ApiError:
            return ""

    def apply(
        self, body: Tree, *, manager: str, force: bool, dry_run: bool = False, warn: Callable[[str], None] | None = None
    ) -> Tree:
        """Server-side apply; the object as it is afterwards (or would be)."""
        query = {"fieldManager": manager, "force": "true" if force else "false", "fieldValidation": "Warn"}
        if dry_run:
            query["dryRun"] = "All"
        kind = self.api.kind(body["apiVersion"], body["kind"], again=not dry_run)
        namespace = namespace_of(body) or self.api.namespace  # a kind whose scope was not known before
        path = kind.path(namespace, name_of(body))
        return self.api.request("PATCH", path, query=query, body=body, content=APPLY, warn=warn)

    def apply_patiently(self, body: Tree, *, manager: str, force: bool, warn: Callable[[str], None]) -> Tree:
        """Like `apply`, and again for a while where that may help; RefusedError where it did not."""
        end, pause = time.monotonic() + RETRIES_FOR_SECONDS, 0.2
        while True:
            try:
                return self.apply(body, manager=manager, force=force, warn=warn)
            except (UnknownKindError, ApiError) as error:
                if time.monotonic() > end or not _is_passing(error):
                    raise _sentence(error, title(body)) from error
            time.sleep(pause)
            pause = min(2, pause * 2)

    def delete(self, tree: Tree, *, propagation: str) -> None:
        """Asks for the end of the object; it may take longer."""
        try:
            path = self.api.kind(tree["apiVersion"], tree["kind"]).path(namespace_of(tree), name_of(tree))
            self.api.request("DELETE", path, body={"propagationPolicy": propagation})
        except UnknownKindError:
            return
        except ApiError as error:
            if error.code != 404:
                raise _sentence(error, title(tree), doing="delete") from error

    def let_go(self, tree: Tree, *, manager: str) -> None:
        """The fields that `manager` has set go; the object stays."""
        metadata = {key: text for key, text in section(tree, "metadata").items() if key in {"name", "namespace"}}
        bare = {"apiVersion": tree["apiVersion"], "kind": tree["kind"], "metadata": metadata}
        if self.get_like(bare):
            self.apply(bare, manager=manager, force=False)

    def annotate(self, tree: Tree, annotations: dict[str, str | None], *, manager: str) -> None:
        """Sets (or with None removes) annotations of a live object; one that is gone is fine."""
        path = self.api.kind(tree["apiVersion"], tree["kind"]).path(namespace_of(tree), name_of(tree))
        body = {"metadata": {"annotations": annotations}}
        try:
            self.api.request("PATCH", path, query={"fieldManager": manager}, body=body, content=MERGE)
        except ApiError as error:
            if error.code != 404:
                raise _sentence(error, title(tree)) from error

    def managed(self, api_version: str, kind: str, namespace: str | None, manager: str) -> list[Tree]:
        """Metadata of the objects of one kind whose fields `manager` has applied."""
        where = self.api.kind(api_version, kind)
        listed = self.api.request("GET", where.path(namespace), accept=METADATA_ONLY)
        found = [{**each, "apiVersion": api_version, "kind": kind} for each in entries(listed, "items")]
        return [each for each in found if is_managed_by(each, manager)]


def _is_passing(error: Exception) -> bool:
    match error:
        case UnknownKindError():
            return True
        case ApiError(code=404):
            return "namespaces" in error.message
        case ApiError(code=409):
            return not error.causes  # not a conflict of field managers
        case ApiError(code=code):
            return code == 429 or (code >= 500 and "failed calling webhook" in error.message) or code == 503
        case _:
            return False


def sentence(error: Exception, what: str) -> str:
    """`error` of an apply to `what`, for a person."""
    if not isinstance(error, ApiError):
        return f"{what}: {error}"
    fields = [(field, words.split('"')[1]) for field, words in error.causes if words.startswith("conflict with")]
    if error.code == 409 and fields:
        others = ", ".join(f'{field} (set by "{other}")' for field, other in fields)
        return (
            f"Server-Side Apply field conflict detected on {what}: {others}. To take the fields back, "
            'set the annotation pulumi.com/patchForce: "true" on the resource or `enablePatchForce` on its provider; '
            "to leave them to the other, name them in `ignoreChanges`"
        )
    return f"the API server refuses {what}: {error.message}"


def _sentence(error: Exception, what: str, *, doing: str = "") -> RefusedError:
    if doing and isinstance(error, ApiError):
        return RefusedError(f"the API server does not {doing} {what}: {error.message}")
    return RefusedError(sentence(error, what))


def why_still_there(live: Tree) -> str:
    """What holds back the end of an object that is being deleted."""
    blocking = [
        str(each.get("message"))
        for each in entries(live, "status", "conditions")
        if str(each.get("type")).startswith("Namespace") and each.get("status") == "True"
    ]
    found = (look_up(live, (part, "finalizers")) for part in ("metadata", "spec"))
    finalizers = [str(name) for names in found if is_list(names) for name in names]
    return "; ".join(blocking) or f"finalizers: {', '.join(finalizers) or 'none'}"
