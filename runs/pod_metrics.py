"""Metrics of an endpoint's pods, read from the pods themselves through kubectl."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx

from contract import names
from runs.cluster import Cluster
from runs.errors import ClusterError

AT_ONCE = 6
"""Number of pods that are read at a time."""
SECONDS = 10
"""Timeout in seconds of one response."""


def read(cluster: Cluster, endpoint: str, kinds: str) -> Mapping[str, str]:
    """Return what each running pod answers to a scraper, by name of the pod. A pod that does not answer is left out.

    Args:
        cluster: cluster with the endpoint.
        endpoint: name of the endpoint.
        kinds: values of the label app.kubernetes.io/name, separated by commas.

    Raises:
        ClusterError: the cluster did not respond, or no pod did.
    """
    selector = f"{names.INSTANCE}={endpoint},{names.NAME} in ({kinds})"
    pods = cluster.items("pods", selector, namespace=names.SERVING)
    running = [each["metadata"]["name"] for each in pods if each["status"].get("phase") == "Running"]

    def one(pod: str) -> tuple[str, str | ClusterError]:
        try:
            with cluster.forwarded(names.SERVING, endpoint, names.PROBE_PORT, pod=pod) as address:
                response = httpx.get(f"{address}/metrics", timeout=SECONDS, trust_env=False)
            return pod, response.raise_for_status().text
        except (ClusterError, httpx.HTTPError) as error:
            return pod, ClusterError(f"pod {pod}: {error}")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(one, running))
    texts = {pod: text for pod, text in found if isinstance(text, str)}
    if running and not texts:
        raise ClusterError(f"no pod of {endpoint} answers with metrics: {found[0][1]}")
    return texts
