"""How an Ingress asks Auto Mode for an Application Load Balancer."""

from collections.abc import Mapping, Sequence

import pulumi

from components.foundation import WayIn

CLASS = "alb"
READINESS_GATES = {"eks.amazonaws.com/pod-readiness-gate-inject": "enabled"}
"""On a namespace: a new pod counts as ready once the load balancer has found it healthy.

Without it a release ends the old pods while the load balancer still looks at the new ones (AWS Load Balancer
Controller, "Pod readiness gate"; Auto Mode has a label of its own for it).
"""
HEALTHY_SECONDS = 60
"""How long that may take: registration, and health checks 10 s apart."""
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
"""TLS 1.2 and 1.3 (ELB user guide, "Security policies")."""


def annotations(
    asked: WayIn, *, subnet_ids: pulumi.Input[Sequence[str]], network: pulumi.Input[Sequence[str]]
) -> Mapping[str, pulumi.Input[str]]:
    """Annotations of an Ingress: one load balancer of its own in these subnets, straight to the pods' addresses.

    Who may ask is who was named, else `network`: by itself the controller opens the security group to everybody.

    With a certificate it speaks HTTPS and sends plain HTTP there; a public one without a certificate cannot be asked
    for (settings refuse it). Names are those of the AWS Load Balancer Controller, "Ingress annotations".
    """
    attributes = {
        "idle_timeout.timeout_seconds": str(asked.idle_timeout_seconds),
        "routing.http.drop_invalid_header_fields.enabled": "true",
    }
    words: dict[str, pulumi.Input[str]] = {
        "scheme": "internet-facing" if asked.public else "internal",
        "subnets": pulumi.Output.from_input(subnet_ids).apply(",".join),
        "target-type": "ip",
        "listen-ports": '[{"HTTP":80},{"HTTPS":443}]' if asked.certificate_arn else '[{"HTTP":80}]',
        "healthcheck-path": asked.health_path,
        "healthcheck-interval-seconds": "10",
        "load-balancer-attributes": ",".join(f"{key}={value}" for key, value in attributes.items()),
        "target-group-attributes": "deregistration_delay.timeout_seconds=30",
        "inbound-cidrs": pulumi.Output.from_input(asked.cidrs or network).apply(",".join),
    }
    if asked.certificate_arn:
        words["certificate-arn"] = asked.certificate_arn
        words["ssl-policy"] = TLS_POLICY
        words["ssl-redirect"] = "443"
    return {f"alb.ingress.kubernetes.io/{key}": value for key, value in words.items()}
