"""Longest that Pulumi waits for each kind of object: the one module that holds these numbers.

The `kubernetes` plugin waits 10 minutes for everything, and does not look at a Deployment's own progress deadline. So
each limit here is the time that the object itself may take, and MARGIN_SECONDS for Kubernetes to say that it failed.
"""

from pulumi import CustomTimeouts

MARGIN_SECONDS = 15
"""Time that Kubernetes may take to report a failure after the deadline that it failed at."""
IMAGE_PULL_SECONDS = 120
"""Time that a node may take to pull an image that it does not have."""
VOLUME_SECONDS = 60
"""Time that a volume may take to be made and attached to a node."""
LOAD_BALANCER_SECONDS = 300
"""Time that a load balancer may take until it has an address: AWS makes one in about three minutes."""


def rollout(pod_seconds: int, pods: int, *, grace_seconds: int) -> CustomTimeouts:
    """Timeouts of a Deployment whose `pods` start one after another.

    The first pod may take `pod_seconds`. Each further one is expected to take a quarter of that: it finds the image on
    the node, and `pod_seconds` is a limit and not a typical value. A pod ends within `grace_seconds`.
    """
    seconds = pod_seconds + (pods - 1) * pod_seconds // 4 + MARGIN_SECONDS
    return _timeouts(create=seconds, update=seconds, delete=grace_seconds + MARGIN_SECONDS)


def store(startup_seconds: int, *, grace_seconds: int) -> CustomTimeouts:
    """Timeouts of a StatefulSet of one pod with one volume: an update ends the old pod first."""
    start = IMAGE_PULL_SECONDS + VOLUME_SECONDS + startup_seconds + MARGIN_SECONDS
    return _timeouts(create=start, update=grace_seconds + start, delete=grace_seconds + MARGIN_SECONDS)


def job(deadline_seconds: int) -> CustomTimeouts:
    """Timeouts of a Job that Pulumi waits for: its own deadline ends it, so that the Job gives the reason."""
    seconds = deadline_seconds + MARGIN_SECONDS
    return _timeouts(create=seconds, update=seconds)


def ingress(backend_seconds: int) -> CustomTimeouts:
    """Timeouts of an Ingress: it needs an address, and the first pod of its Service within `backend_seconds`."""
    seconds = LOAD_BALANCER_SECONDS + backend_seconds + MARGIN_SECONDS
    return _timeouts(create=seconds, update=seconds)


def _timeouts(**seconds: int) -> CustomTimeouts:
    return CustomTimeouts(**{operation: f"{limit}s" for operation, limit in seconds.items()})
