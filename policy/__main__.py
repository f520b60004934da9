"""The policy pack: `pulumi preview --policy-pack policy`. It stops an update that breaks a rule."""

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from rules import RULES, Resource, Rule, buckets_are_complete


def of(rule: Rule) -> ResourceValidationPolicy:
    """A rule about one resource, in the pack's words."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type in rule.types:
            for sentence in rule.check(args.resource_type, args.props):
                report(sentence, None)

    return ResourceValidationPolicy(name=rule.name, description=rule.description, validate=validate)


def complete(args: StackValidationArgs, report: ReportViolation) -> None:
    """The rule about all buckets, once every resource is known."""
    urns = {resource.name: resource.urn for resource in args.resources}
    seen = [Resource(kind=r.resource_type, name=r.name, properties={}) for r in args.resources]
    for bucket, sentence in buckets_are_complete(seen):
        report(sentence, urns[bucket.name])


PolicyPack(
    name="mlops",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[
        *map(of, RULES),
        StackValidationPolicy(
            name="buckets-are-complete", description=buckets_are_complete.__doc__ or "", validate=complete
        ),
    ],
)
