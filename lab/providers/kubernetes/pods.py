"""Why a Pod does not run, in a person's words."""

from collections.abc import Iterator
from typing import Final, Protocol

from lab.providers.kubernetes.objects import identity
from lab.providers.values import Tree, entries, section

LOG_LINES: Final = 8
IMAGE_REASONS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
                                  "ImageInspectError", "RegistryUnavailable"})  # fmt: skip
STARTING: Final = frozenset({"ContainerCreating", "PodInitializing", ""})


class Look(Protocol):
    """Reading the cluster."""

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Tree | None:
        """One object, or None."""
        ...

    def find(
        self, api_version: str, kind: str, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> list[Tree]:
        """Those that match both selectors."""
        ...

    def log(self, namespace: str | None, pod: str, container: str, *, previous: bool) -> str:
        """The last lines of a container (with `previous`: of its run before this one), or nothing."""
        ...


def condition(tree: Tree, kind: str) -> Tree:
    """One of the conditions in its status; empty where it has none of that type."""
    return next((entry for entry in entries(tree, "status", "conditions") if entry.get("type") == kind), Tree())


def is_ready(pod: Tree) -> bool:
    """Whether it runs and passes its probes."""
    return condition(pod, "Ready").get("status") == "True"


def trouble(pod: Tree, look: Look | None = None) -> list[str]:
    """What keeps `pod` from being ready; with `look`, its events and logs are read as well. Empty when nothing does."""
    if is_ready(pod) or section(pod, "status").get("phase") == "Succeeded":
        return []
    found = [*_unscheduled(pod), *(reason for name in ("init", "") for reason in _containers(pod, name, look))]
    if look and (not found or all("not ready" in reason for reason in found)):
        found += last_warning(pod, look)
    status = section(pod, "status")
    if not found and status.get("phase") == "Failed":
        found = [f"failed: {status.get('reason') or ''} {status.get('message') or ''}".strip()]
    return [f"Pod {identity(pod)}: {reason}" for reason in found]


def _unscheduled(pod: Tree) -> Iterator[str]:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"cannot be scheduled: {scheduled.get('message') or scheduled.get('reason')}"


def _containers(pod: Tree, kind: str, look: Look | None) -> Iterator[str]:
    words = "init container" if kind else "container"
    for status in entries(pod, "status", "initContainerStatuses" if kind else "containerStatuses"):
        if reason := _container(pod, status, look):
            yield f'{words} "{status.get("name")}" {reason}'


def _container(pod: Tree, status: Tree, look: Look | None) -> str:
    waiting, ended = section(status, "state", "waiting"), section(status, "state", "terminated")
    before = section(status, "lastState", "terminated")
    reason = str(waiting.get("reason") or "")
    if reason in IMAGE_REASONS:
        return f"cannot pull image {status.get('image')}: {waiting.get('message') or reason}"
    if ended.get("exitCode"):
        return _ended(pod, status, ended, look, previous=False)
    if before.get("exitCode"):
        return _ended(pod, status, before, look, previous=True)
    if reason not in STARTING:
        return f"cannot start: {reason}: {waiting.get('message') or 'no message'}"
    if "running" in section(status, "state") and not status.get("ready") and status.get("started") is not None:
        return "runs but is not ready"
    return ""


def _ended(pod: Tree, status: Tree, ended: Tree, look: Look | None, *, previous: bool) -> str:
    reason = str(ended.get("reason") or "")
    text = f"ended with exit code {ended['exitCode']}"
    if reason not in {"", "Error"}:
        text += f" ({reason})"
    if restarts := status.get("restartCount"):
        text += f" after {restarts} {'restart' if restarts == 1 else 'restarts'}"
    if message := str(ended.get("message") or "").strip():
        return f"{text}: {message}"
    if look is None:
        return text
    log = look.log(section(pod, "metadata").get("namespace"), section(pod, "metadata")["name"], str(status.get("name")),
                   previous=previous).strip()  # fmt: skip
    lines = log.splitlines()[-LOG_LINES:]
    return f"{text}; its last log lines:\n" + "\n".join(f"    {line}" for line in lines) if lines else text


def last_warning(live: Tree, look: Look) -> list[str]:
    """The newest warning among the events about an object; empty where there is none."""
    metadata = section(live, "metadata")
    fields = f"involvedObject.uid={metadata.get('uid')},type=Warning"
    events = look.find("v1", "Event", metadata.get("namespace"), fields=fields)
    newest = sorted(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))[-1:]
    return [f"{event.get('reason')}: {str(event.get('message')).strip()}" for event in newest]
