"""Service quotas of the account in the region."""

from __future__ import annotations

from dataclasses import dataclass

from doctor.aws.requests import Aws


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Quota that applies to the account."""

    service: str
    """Code of the service, such as `ec2`."""
    code: str
    """Code of the quota, such as `L-1216C47A`."""
    name: str
    """Name of the quota."""
    value: float
    """Largest allowed amount."""


def quotas(aws: Aws, service: str) -> list[Quota]:
    """Return the quotas of a service in the region."""
    return [
        Quota(service=service, code=each["QuotaCode"], name=each["QuotaName"], value=each["Value"])
        for each in aws.ask("service-quotas", "list_service_quotas", ServiceCode=service)["Quotas"]
    ]


def increase(aws: Aws, quota: Quota, needed: int) -> str:
    """Return the command that asks AWS for a larger quota."""
    return (
        f"run aws service-quotas request-service-quota-increase --region {aws.region} --service-code {quota.service} "
        f"--quota-code {quota.code} --desired-value {needed}"
    )
