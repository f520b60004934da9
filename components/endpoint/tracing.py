"""Where a model server's traces go, and its pods' way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pulumi_kubernetes as k8s


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """`endpoint` is the URL of a Service of this cluster, with namespace and port: it takes OTLP over HTTP.

    `sample` is the share of the requests whose caller did not decide that is traced.
    """

    endpoint: str
    sample: float


def environment(tracing: Tracing) -> Mapping[str, str]:
    """Of the server, under OpenTelemetry's own names."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": tracing.endpoint, "OTEL_TRACES_SAMPLER_ARG": str(tracing.sample)}


def egress(selector: Mapping[str, str], tracing: Tracing) -> k8s.networking.v1.NetworkPolicySpecArgsDict:
    """These pods reach the collector's namespace on the collector's port.

    Its pods' labels are not known here. The port is compared with that of its pods, so its Service must have the same.
    """
    url = urlsplit(tracing.endpoint)
    _, namespace, *_ = (url.hostname or "").split(".")
    return {
        "pod_selector": {"match_labels": selector},
        "policy_types": ["Egress"],
        "egress": [
            {
                "to": [{"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": namespace}}}],
                "ports": [{"protocol": "TCP", "port": url.port or 0}],
            }
        ],
    }
