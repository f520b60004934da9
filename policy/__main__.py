"""Policy pack that stops an update which breaks a rule: `pulumi preview --policy-pack policy`."""

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from rules import RULES, Resource, Rule, buckets_are_complete, namespaces_are_closed


def resource_policy(rule: Rule) -> ResourceValidationPolicy:
    """Return the policy of a rule about one resource."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type in rule.types:
            for sentence in rule.check(args.resource_type, args.props):
                report(sentence, None)

    level = EnforcementLevel.ADVISORY if rule.advisory else EnforcementLevel.MANDATORY
    return ResourceValidationPolicy(
        name=rule.name, description=rule.description, validate=validate, enforcement_level=level
    )


def check_buckets(args: StackValidationArgs, report: ReportViolation) -> None:
    """Report incomplete buckets; Pulumi calls this when it knows all resources."""
    urns = {resource.name: resource.urn for resource in args.resources}
    resources = [Resource(kind=r.resource_type, name=r.name, properties={}) for r in args.resources]
    for bucket, sentence in buckets_are_complete(resources):
        report(sentence, urns[bucket.name])


def check_namespaces(args: StackValidationArgs, report: ReportViolation) -> None:
    """Report namespaces without a NetworkPolicy for all pods; Pulumi calls this when it knows all resources."""
    urns = {(resource.resource_type, resource.name): resource.urn for resource in args.resources}
    kinds = ("kubernetes:core/v1:Namespace", "kubernetes:networking.k8s.io/v1:NetworkPolicy")
    resources = [
        Resource(kind=r.resource_type, name=r.name, properties=r.props)
        for r in args.resources
        if r.resource_type in kinds
    ]
    for namespace, sentence in namespaces_are_closed(resources):
        report(sentence, urns[namespace.kind, namespace.name])


PolicyPack(
    name="mlops",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[
        *map(resource_policy, RULES),
        StackValidationPolicy(
            name="buckets-are-complete", description=buckets_are_complete.__doc__ or "", validate=check_buckets
        ),
        StackValidationPolicy(
            name="namespaces-are-closed", description=namespaces_are_closed.__doc__ or "", validate=check_namespaces
        ),
    ],
)
