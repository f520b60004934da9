"""When a live object is ready, what it still waits for, and when it never will be."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from lab.providers.kubernetes.objects import name_of, namespace_of
from lab.providers.kubernetes.pods import Look, condition, last_warning, trouble
from lab.providers.values import Tree, entries, section

REPLICA_FAILURE_GRACE: Final = timedelta(seconds=30)  # a rollout may pass a quota as old Pods go
WORST_PODS: Final = 3


@dataclass(frozen=True)
class Progress:
    """`failure` is set when waiting longer is of no use; `waits_for` is empty once it is ready."""

    waits_for: str = ""
    failure: str = ""

    @property
    def ready(self) -> bool:
        """Nothing is left to wait for."""
        return not self.waits_for and not self.failure


READY: Final = Progress()


def deployment(live: Tree, look: Look) -> Progress:
    """Every replica is new and available, and no old one is left."""
    spec, status = section(live, "spec"), section(live, "status")
    if spec.get("paused"):
        return READY
    if not _is_observed(live):
        return Progress("its controller to see the change")
    if _gave_up(live, look):
        seconds = spec.get("progressDeadlineSeconds", 600)
        return Progress(failure=f"no progress for {seconds} s (progressDeadlineSeconds); {_counts(live)}")
    if failed := _replica_failure(live):
        return failed
    wanted = spec.get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or available < wanted or status.get("replicas", 0) > updated:
        return Progress(_counts(live))
    return READY


def _gave_up(live: Tree, look: Look) -> bool:
    """No progress of the newest ReplicaSet; right after a change the condition may still be that of the one before."""
    progressing = condition(live, "Progressing")
    if progressing.get("reason") != "ProgressDeadlineExceeded":
        return False
    newest, message = _newest_replica_set(live, look), str(progressing.get("message"))
    return newest is None or not message.startswith("ReplicaSet ") or f'"{name_of(newest)}"' in message


def _counts(live: Tree) -> str:
    status = section(live, "status")
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    old = status.get("replicas", 0) - updated
    text = f"{updated} of {section(live, 'spec').get('replicas', 1)} Pods updated, {available} available"
    return f"{text}, {old} old to go" if old > 0 else text


def _replica_failure(live: Tree) -> Progress | None:
    failed = condition(live, "ReplicaFailure")
    if failed.get("status") != "True":
        return None
    message = str(failed.get("message") or failed.get("reason"))
    since = failed.get("lastTransitionTime")
    if since and datetime.now(UTC) - datetime.fromisoformat(since) < REPLICA_FAILURE_GRACE:
        return Progress(f"Pods to be accepted: {message}")
    return Progress(failure=f"its Pods are refused: {message}")


def replica_set(live: Tree, _look: Look) -> Progress:
    """Every replica is available."""
    if failed := _replica_failure(live):
        return failed
    wanted, available = section(live, "spec").get("replicas", 1), section(live, "status").get("availableReplicas", 0)
    if not _is_observed(live) or available < wanted:
        return Progress(f"{available} of {wanted} Pods available")
    return READY


def stateful_set(live: Tree, _look: Look) -> Progress:
    """Every replica is ready, and of the latest revision unless the update strategy leaves that to the user."""
    spec, status = section(live, "spec"), section(live, "status")
    if not _is_observed(live):
        return Progress("its controller to see the change")
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    updated = status.get("updatedReplicas", 0)
    strategy = section(spec, "updateStrategy")
    by_itself = strategy.get("type") != "OnDelete" and not section(strategy, "rollingUpdate").get("partition")
    if ready < wanted or (by_itself and updated < wanted):
        return Progress(f"{updated} of {wanted} Pods updated, {ready} ready")
    return READY


def daemon_set(live: Tree, _look: Look) -> Progress:
    """Every node that it is meant for runs a ready Pod, an updated one unless the user has to delete the old ones."""
    status = section(live, "status")
    if not _is_observed(live):
        return Progress("its controller to see the change")
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    updated = status.get("updatedNumberScheduled", 0)
    by_itself = section(live, "spec", "updateStrategy").get("type") != "OnDelete"
    if ready < wanted or (by_itself and updated < wanted):
        return Progress(f"{updated} of {wanted} Pods updated, {ready} ready")
    return READY


def job(live: Tree, _look: Look) -> Progress:
    """It is complete."""
    if condition(live, "Complete").get("status") == "True" or section(live, "spec").get("suspend"):
        return READY
    failed = condition(live, "Failed")
    if failed.get("status") == "True":
        return Progress(failure=f"it failed: {failed.get('reason')}: {failed.get('message')}")
    status = section(live, "status")
    tries = status.get("failed", 0)
    return Progress(f"its Pods to succeed ({status.get('active', 0)} active, {tries} failed)")


def pod(live: Tree, _look: Look) -> Progress:
    """It is ready, or has done its work."""
    status = section(live, "status")
    if condition(live, "Ready").get("status") == "True" or status.get("phase") == "Succeeded":
        return READY
    if status.get("phase") == "Failed":
        return Progress(failure="it failed")
    return Progress("it to be ready")


def service(live: Tree, look: Look) -> Progress:
    """A Pod stands behind it, unless it is headless or selects none; it has an address from its load balancer."""
    spec = section(live, "spec")
    if spec.get("type") == "LoadBalancer" and not entries(live, "status", "loadBalancer", "ingress"):
        return Progress("an address from the load balancer")
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None" or not section(spec, "selector"):
        return READY
    labels = f"kubernetes.io/service-name={name_of(live)}"
    slices = look.find("discovery.k8s.io/v1", "EndpointSlice", namespace_of(live), labels=labels)
    ready = any(
        section(endpoint, "conditions").get("ready", True) for part in slices for endpoint in entries(part, "endpoints")
    )
    return READY if ready else Progress("a ready Pod that its selector matches")


def ingress(live: Tree, _look: Look) -> Progress:
    """Its controller has given it an address."""
    return READY if entries(live, "status", "loadBalancer", "ingress") else Progress("an address from its controller")


def volume_claim(live: Tree, look: Look) -> Progress:
    """It is bound, or its storage class binds only when a Pod wants it."""
    phase = section(live, "status").get("phase")
    if phase == "Bound":
        return READY
    if phase == "Lost":
        return Progress(failure="its volume is lost")
    storage_class = section(live, "spec").get("storageClassName")
    if storage_class and not section(live, "spec").get("volumeName"):
        found = look.get("storage.k8s.io/v1", "StorageClass", None, storage_class)
        if found and found.get("volumeBindingMode") == "WaitForFirstConsumer":
            return READY
    return Progress("a volume to be bound")


def volume(live: Tree, _look: Look) -> Progress:
    """It can be bound, or is."""
    phase = section(live, "status").get("phase")
    return READY if phase in {"Available", "Bound"} else Progress(f"it to be available (phase {phase})")


def definition(live: Tree, _look: Look) -> Progress:
    """Its kind is served."""
    names = condition(live, "NamesAccepted")
    if names.get("status") == "False":
        return Progress(failure=f"its names are taken: {names.get('message')}")
    established = condition(live, "Established").get("status") == "True"
    return READY if established else Progress("the API server to serve its kind")


def _is_observed(live: Tree) -> bool:
    return section(live, "status").get("observedGeneration", 0) >= section(live, "metadata").get("generation", 0)


CHECKS: Final[dict[tuple[str, str], Callable[[Tree, Look], Progress]]] = {
    ("apiextensions.k8s.io", "CustomResourceDefinition"): definition,
    ("apps", "DaemonSet"): daemon_set,
    ("apps", "Deployment"): deployment,
    ("apps", "ReplicaSet"): replica_set,
    ("apps", "StatefulSet"): stateful_set,
    ("batch", "Job"): job,
    ("", "PersistentVolume"): volume,
    ("", "PersistentVolumeClaim"): volume_claim,
    ("", "Pod"): pod,
    ("", "ReplicationController"): replica_set,
    ("", "Service"): service,
    ("networking.k8s.io", "Ingress"): ingress,
}


def check_of(live: Tree) -> Callable[[Tree, Look], Progress] | None:
    """The check for its kind; None where existing is enough."""
    return CHECKS.get((str(live.get("apiVersion")).rpartition("/")[0], str(live.get("kind"))))


def explain(live: Tree, look: Look, *, deep: bool) -> list[str]:
    """What is wrong with the Pods behind `live`; `deep` reads events and logs too."""
    if live.get("kind") == "Pod":
        return trouble(live, look if deep else None)
    found = (trouble(each, look if deep else None) for each in _current_pods(live, look))
    bad = [reasons for reasons in found if reasons]
    more = [f"and {len(bad) - WORST_PODS} more Pods"] if len(bad) > WORST_PODS else []
    reasons = [*(reason for reasons in bad[:WORST_PODS] for reason in reasons), *more]
    return reasons or (last_warning(live, look) if deep else [])


def _current_pods(live: Tree, look: Look) -> list[Tree]:
    labels = _selector(live)
    if not labels:
        return []
    owner = _newest_replica_set(live, look) if live.get("kind") == "Deployment" else live
    pods = look.find("v1", "Pod", namespace_of(live), labels=labels)
    owned = [pod for pod in pods if owner and _is_owned(pod, owner)]
    return sorted(owned, key=lambda pod: str(section(pod, "metadata").get("creationTimestamp")), reverse=True)


def _newest_replica_set(live: Tree, look: Look) -> Tree | None:
    revision = "deployment.kubernetes.io/revision"
    wanted = section(live, "metadata", "annotations").get(revision)
    found = look.find("apps/v1", "ReplicaSet", namespace_of(live), labels=_selector(live))
    return next(
        (
            each
            for each in found
            if section(each, "metadata", "annotations").get(revision) == wanted and _is_owned(each, live)
        ),
        None,
    )


def _is_owned(tree: Tree, owner: Tree) -> bool:
    uid = section(owner, "metadata").get("uid")
    return uid in {reference.get("uid") for reference in entries(tree, "metadata", "ownerReferences")}


def _selector(live: Tree) -> str:
    labels = section(live, "spec", "selector", "matchLabels")
    return ",".join(f"{name}={value}" for name, value in labels.items())
