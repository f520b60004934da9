"""How an Ingress asks Auto Mode for an Application Load Balancer."""

from collections.abc import Mapping, Sequence

CLASS = "alb"


def annotations(
    *, public: bool, certificate_arn: str | None, cidrs: Sequence[str], health_path: str, idle_timeout_seconds: int
) -> Mapping[str, str]:
    """Annotations of an Ingress: one load balancer of its own, straight to the pods' addresses.

    With a certificate it speaks HTTPS and sends plain HTTP there; a public one without a certificate cannot be asked
    for (settings refuse it). Names are those of the AWS Load Balancer Controller, "Ingress annotations".
    """
    listeners = '[{"HTTP":80},{"HTTPS":443}]' if certificate_arn else '[{"HTTP":80}]'
    words = {
        "scheme": "internet-facing" if public else "internal",
        "target-type": "ip",
        "listen-ports": listeners,
        "healthcheck-path": health_path,
        "healthcheck-interval-seconds": "10",
        "inbound-cidrs": ",".join(cidrs),
        "load-balancer-attributes": (
            f"idle_timeout.timeout_seconds={idle_timeout_seconds},routing.http.drop_invalid_header_fields.enabled=true"
        ),
        "target-group-attributes": "deregistration_delay.timeout_seconds=30",
        **(
            {
                "certificate-arn": certificate_arn,
                "ssl-redirect": "443",
                "ssl-policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
            }
            if certificate_arn
            else {}
        ),
    }
    return {f"alb.ingress.kubernetes.io/{key}": value for key, value in words.items() if value}
