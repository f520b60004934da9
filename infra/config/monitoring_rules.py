"""Rules for the values of monitoring and of objectives."""

from bisect import bisect_left
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from contract.buckets import REQUEST_SECONDS
from infra.config import quantities
from infra.config.rules import LABEL, Rule, at_least
from infra.config.secret_rules import SecretRule

BOUNDS_MS = tuple(round(bound * 1000, 1) for bound in REQUEST_SECONDS)
_BUCKET_MUST = "must be a bound of the server's histogram of response times"
_BUCKET_BECAUSE = "Prometheus knows only how many requests took at most that long"


def not_a_bound(milliseconds: float) -> Rule:
    """Return the rule that a time between two bounds breaks; it names both."""
    place = bisect_left(BOUNDS_MS, milliseconds)
    near = [f"{each:g}" for each in BOUNDS_MS[max(0, place - 1) : place + 1]]
    return Rule(must=_BUCKET_MUST, because=_BUCKET_BECAUSE, instead=f"write p95_ms: {' or '.join(near)}")


Availability = Annotated[
    float,
    Field(strict=True, ge=95, le=99.99),
    BeforeValidator(quantities.number),
    Rule(
        must="must be a percentage from 95 to 99.99",
        because="100 allows no failure, so each failed request would be an alert, and with less than 95 the fast alert "
        "could not fire",
        instead="write it as in availability: 99.9, or leave the key out",
    ),
]
Milliseconds = Annotated[
    float,
    Field(strict=True, gt=0),
    BeforeValidator(quantities.number),
    Rule(
        must=_BUCKET_MUST,
        because=_BUCKET_BECAUSE,
        instead=f"write one of {', '.join(f'{bound:g}' for bound in BOUNDS_MS)}",
    ),
]
ReceiverKind = Annotated[
    Literal["pagerduty", "slack", "webhook"],
    Rule(
        must="must be pagerduty, slack or webhook",
        because="Alertmanager sends alerts in the format of the receiver",
        instead="write receiver: webhook for any other program, which gets the alerts as JSON",
    ),
]
StorageClass = Annotated[
    str,
    StringConstraints(pattern=rf"^{LABEL}(\.{LABEL})*$", max_length=253),
    Rule(
        must="must be the name of a StorageClass",
        because="Kubernetes creates the volume of Prometheus with it",
        instead="write a name that `kubectl get storageclasses` lists, or leave the key out for the cluster's default",
    ),
]
ObjectLabelKey = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
    Rule(
        must="must be a label's key",
        because="Prometheus selects PodMonitors and PrometheusRules by it",
        instead="write the key in podMonitorSelector and ruleSelector of your Prometheus, as in release",
    ),
]
ObjectLabelValue = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"),
    Rule(
        must="must be a label's value, a text (in quotes if YAML reads it as a number or a truth value)",
        because="Prometheus selects PodMonitors and PrometheusRules by it",
        instead="write the value in podMonitorSelector and ruleSelector of your Prometheus",
    ),
]
GroupId = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9a-f]{10}-)?[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"),
    Rule(
        must="must be the id of a group of IAM Identity Center",
        because="AWS gives the role in the workspace to the group with this id",
        instead="write the GroupId that `aws identitystore list-groups` prints",
    ),
]
Groups = Annotated[
    tuple[GroupId, ...],
    AfterValidator(at_least(1)),
    Rule(
        must="must name at least one group",
        because="without an administrator, nothing can add a data source or dashboards to the workspace",
        instead="write the GroupId that `aws identitystore list-groups` prints",
    ),
]
MetadataUrl = Annotated[
    str,
    StringConstraints(pattern=r"^https://[A-Za-z0-9.-]+(:\d{1,5})?(/[!-~]*)?$", max_length=2000),
    Rule(
        must="must be an HTTPS URL",
        because="the metadata has the key that verifies logins, so it must not be changed on its way",
        instead="write the URL that your identity provider shows for its SAML metadata",
    ),
]
RoleText = Annotated[
    str,
    StringConstraints(pattern=r"^\S(.{0,254}\S)?$"),
    Rule(
        must="must be a text of 1 to 256 characters, in quotes if YAML reads it as a number or a truth value",
        because="Grafana compares it with the assertions of your identity provider",
        instead="write it as the identity provider sends it",
    ),
]
Roles = Annotated[
    tuple[RoleText, ...],
    AfterValidator(at_least(1)),
    Rule(
        must="must name at least one role",
        because="AWS refuses a SAML configuration without it",
        instead="write a role as your identity provider sends it, as in [ml-platform]",
    ),
]
RECEIVER = SecretRule(
    pattern=r"https?://[!-~]{1,2000}|[A-Za-z0-9]{32}",
    must="must be an HTTP URL, or the 32 characters of a PagerDuty integration key",
    because="anyone who knows it can send alerts in your name",
)
NEEDS_MONITORING = Rule(
    must="must be left out without mlops:monitoring",
    because="nothing would watch the objectives",
    instead="add mlops:monitoring with kind: cluster or kind: operator, or remove the key",
)
MANAGED_NEEDS_AWS = Rule(
    must="must be cluster or operator on this foundation",
    because="Amazon Managed Service for Prometheus scrapes clusters of AWS only",
    instead="write kind: cluster, which runs Prometheus in the cluster",
)
