"""Tracing of an endpoint: environment variables and network policy for the OTLP collector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pulumi_kubernetes as k8s


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """Settings of tracing."""

    endpoint: str
    """URL of the collector's Service in this cluster, with namespace and port; it accepts OTLP over HTTP."""
    sample: float
    """Share of requests that are traced, from 0 to 1, if the client's headers do not decide it."""


def environment(tracing: Tracing) -> Mapping[str, str]:
    """Return the server's environment variables, which OpenTelemetry defines."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": tracing.endpoint, "OTEL_TRACES_SAMPLER_ARG": str(tracing.sample)}


def egress(selector: Mapping[str, str], tracing: Tracing) -> k8s.networking.v1.NetworkPolicySpecArgsDict:
    """Return a policy that lets the pods reach the collector's namespace on the collector's port.

    The labels of the collector's pods are unknown. A policy compares the port with that of the pods, so the Service
    must use the same port as its pods.
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
