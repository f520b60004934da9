"""Annotations by which an Ingress requests an Application Load Balancer from EKS Auto Mode."""

from collections.abc import Mapping, Sequence

import pulumi

from components.foundation import IngressRequest

CLASS = "alb"
READINESS_GATES = {"eks.amazonaws.com/pod-readiness-gate-inject": "enabled"}
"""Namespace label by which a new pod is ready only when the load balancer has found it healthy.

Otherwise a release stops the old pods while the load balancer still checks the new ones (AWS Load Balancer
Controller, "Pod readiness gate"; this is Auto Mode's own label).
"""
HEALTHY_SECONDS = 60
"""Seconds that the load balancer may take to register a pod and find it healthy; it checks every 10 s."""
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
"""Security policy with TLS 1.2 and 1.3 (ELB user guide, "Security policies")."""


def annotations(
    request: IngressRequest,
    *,
    subnet_ids: pulumi.Input[Sequence[str]],
    network: pulumi.Input[Sequence[str]],
    access_logs: tuple[pulumi.Input[str], str] | None = None,
) -> Mapping[str, pulumi.Input[str]]:
    """Return annotations for a separate load balancer in these subnets, which sends requests to the pods' addresses.

    The requested networks may connect, or `network` if none is requested; without either, the controller would admit
    every address. With a certificate, the load balancer uses HTTPS and redirects plain HTTP. The stack file's rules
    refuse a public one without a certificate. `access_logs` are
    bucket and prefix of its access logs. Names: AWS Load Balancer Controller, "Ingress annotations".
    """
    attributes: dict[str, pulumi.Input[str]] = {
        "idle_timeout.timeout_seconds": str(request.idle_timeout_seconds),
        "routing.http.drop_invalid_header_fields.enabled": "true",
    }
    if access_logs:
        bucket, prefix = access_logs
        attributes |= {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": bucket}
        attributes["access_logs.s3.prefix"] = prefix
    settings: dict[str, pulumi.Input[str]] = {
        "scheme": "internet-facing" if request.public else "internal",
        "subnets": pulumi.Output.from_input(subnet_ids).apply(",".join),
        "target-type": "ip",
        "listen-ports": '[{"HTTP":80},{"HTTPS":443}]' if request.certificate else '[{"HTTP":80}]',
        "healthcheck-path": request.health_path,
        "healthcheck-interval-seconds": "10",
        "load-balancer-attributes": pulumi.Output.all(**attributes).apply(
            lambda known: ",".join(f"{key}={value}" for key, value in known.items())
        ),
        "target-group-attributes": "deregistration_delay.timeout_seconds=30",
        "inbound-cidrs": pulumi.Output.from_input(request.cidrs or network).apply(",".join),
    }
    if request.certificate:
        settings["certificate-arn"] = request.certificate
        settings["ssl-policy"] = TLS_POLICY
        settings["ssl-redirect"] = "443"
    return {f"alb.ingress.kubernetes.io/{key}": value for key, value in settings.items()}
