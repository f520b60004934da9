"""Checks of the certificates of load balancers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from doctor.aws.requests import AbsentError, Answer, Aws
from doctor.findings import Finding, ok, problem, warning
from doctor.stack_file import Stack
from infra.config.aws import Ingress

SOON = timedelta(days=30)
"""Remaining life of a certificate below which it is reported."""


def certificates(aws: Aws, stack: Stack) -> Iterator[Finding]:
    """Check that the certificate of each ingress exists in the region, is issued, valid and covers its host."""
    ingresses = {
        "tracking.ingress": stack.settings.tracking.ingress,
        **{f"endpoints.{name}.ingress": endpoint.ingress for name, endpoint in stack.settings.endpoints.items()},
    }
    for key, ingress in ingresses.items():
        if ingress and ingress.certificate_arn:
            yield from _certificate(aws, f"mlops:{key}.certificate_arn", ingress, ingress.certificate_arn)
        elif ingress:
            yield ok(f"{ingress.host} has no certificate: its load balancer accepts plain HTTP")


def _certificate(aws: Aws, key: str, ingress: Ingress, arn: str) -> Iterator[Finding]:
    listed = f"run aws acm list-certificates --region {aws.region}, and write one into {key}"
    if arn.split(":")[3] != aws.region:
        yield problem(
            f"{key} is a certificate of {arn.split(':')[3]}, not of {aws.region}",
            "a load balancer can use only certificates of its own region",
            listed,
        )
        return
    try:
        found = aws.ask("acm", "describe_certificate", CertificateArn=arn)["Certificate"]
    except AbsentError:
        yield problem(f"{key} does not exist: {arn}", f"the load balancer of {ingress.host} is not created", listed)
        return
    if found["Status"] != "ISSUED":
        yield problem(
            f"the certificate of {ingress.host} is {found['Status']}",
            "a load balancer can use only issued certificates",
            f"run aws acm describe-certificate --region {aws.region} --certificate-arn {arn}, and create the DNS "
            "record in DomainValidationOptions, or request another certificate",
        )
        return
    names = found.get("SubjectAlternativeNames") or [found.get("DomainName", "")]
    if not _covers(names, ingress.host):
        yield problem(
            f"the certificate of {ingress.host} is for {', '.join(names)}",
            "clients refuse the connection, because the names differ",
            f"run aws acm request-certificate --region {aws.region} --domain-name {ingress.host} "
            f"--validation-method DNS, and write its ARN into {key}",
        )
    yield _age(aws, ingress, arn, found)


def _covers(names: Sequence[str], host: str) -> bool:
    return host in names or f"*.{host.partition('.')[2]}" in names


def _age(aws: Aws, ingress: Ingress, arn: str, found: Answer) -> Finding:
    left = found["NotAfter"] - datetime.now(UTC)
    until = f"the certificate of {ingress.host} is valid until {found['NotAfter']:%Y-%m-%d}"
    renew = f"run aws acm renew-certificate --region {aws.region} --certificate-arn {arn}"
    if found.get("RenewalEligibility") == "INELIGIBLE":
        renew = f"import a new certificate: aws acm import-certificate --region {aws.region} --certificate-arn {arn}"
    if left < timedelta():
        return problem(until, "clients refuse the connection", renew)
    if left < SOON:
        return warning(until, f"that is in {left.days} days, and ACM should have renewed it by now", renew)
    return ok(until)
