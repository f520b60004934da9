"""Timeouts of Pulumi for each kind of Kubernetes object.

The `kubernetes` plugin waits 10 minutes for every object and ignores a Deployment's progress deadline. Each timeout
here is the object's own deadline plus MARGIN_SECONDS, so that Kubernetes can report the failure first.
"""

from pulumi import CustomTimeouts

MARGIN_SECONDS = 15
"""Seconds between an object's deadline and the moment when Kubernetes has reported the failure."""
IMAGE_PULL_SECONDS = 120
"""Seconds within which a node must have pulled an image."""
VOLUME_SECONDS = 60
"""Seconds within which a volume must be created and attached to a node."""
LOAD_BALANCER_SECONDS = 300
"""Seconds within which a load balancer must have an address; AWS takes about three minutes."""


def rollout(pod_seconds: int, pods: int, *, grace_seconds: int) -> CustomTimeouts:
    """Return the timeouts of a Deployment whose `pods` start one after another.

    The first pod may take `pod_seconds`, each further pod a quarter of that, because the image is already on the node
    and `pod_seconds` is a limit, not a typical value. A pod ends within `grace_seconds`.
    """
    seconds = pod_seconds + (pods - 1) * pod_seconds // 4 + MARGIN_SECONDS
    return _timeouts(create=seconds, update=seconds, delete=grace_seconds + MARGIN_SECONDS)


def store(startup_seconds: int, *, grace_seconds: int) -> CustomTimeouts:
    """Return the timeouts of a StatefulSet of one pod with one volume; an update ends the old pod first."""
    start = IMAGE_PULL_SECONDS + VOLUME_SECONDS + startup_seconds + MARGIN_SECONDS
    return _timeouts(create=start, update=grace_seconds + start, delete=grace_seconds + MARGIN_SECONDS)


def job(deadline_seconds: int) -> CustomTimeouts:
    """Return the timeouts of a Job that Pulumi waits for; the Job's own deadline passes first and gives the reason."""
    seconds = deadline_seconds + MARGIN_SECONDS
    return _timeouts(create=seconds, update=seconds)


def ingress(backend_seconds: int) -> CustomTimeouts:
    """Return the timeouts of an Ingress whose Service has its first ready pod within `backend_seconds`."""
    seconds = LOAD_BALANCER_SECONDS + backend_seconds + MARGIN_SECONDS
    return _timeouts(create=seconds, update=seconds)


def _timeouts(**seconds: int) -> CustomTimeouts:
    return CustomTimeouts(**{operation: f"{limit}s" for operation, limit in seconds.items()})
