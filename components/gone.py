"""Error message for objects that were deleted outside Pulumi, whose state still has them.

An update that needs such an object fails. The `kubernetes` plugin reports only `namespaces "ml-training" not found`;
the message here adds the command that helps.
"""

import re

import pulumi
from pulumi import (
    ErrorHook,
    ErrorHookArgs,
    ResourceHookBinding,
    ResourceOptions,
    ResourceTransformationArgs,
    ResourceTransformationResult,
)

NOT_FOUND = re.compile(r'([a-z][\w.]*) "([^"]+)" not found')


def watch() -> None:
    """Log an error that names `pulumi up --refresh` when a Kubernetes object declared after this call is missing."""
    reported = set[str]()

    async def on_error(args: ErrorHookArgs) -> bool:
        missing = missing_object(args)
        if missing and missing not in reported:
            reported.add(missing)
            pulumi.log.error(
                f"{args.name}: {missing} is missing in the cluster, because it was deleted outside Pulumi, whose state "
                "still has it; run pulumi up --refresh, which reads the cluster first and creates what is missing"
            )
        return False

    hooks = ResourceHookBinding(on_error=[ErrorHook("gone", on_error)])

    def bind(args: ResourceTransformationArgs) -> ResourceTransformationResult | None:
        if not args.type_.startswith("kubernetes:"):
            return None
        return ResourceTransformationResult(args.props, ResourceOptions.merge(args.opts, ResourceOptions(hooks=hooks)))

    pulumi.runtime.register_stack_transformation(bind)


def missing_object(args: ErrorHookArgs) -> str | None:
    """Return the object that an operation did not find, which is its own or its namespace; None for other failures."""
    found = NOT_FOUND.search(args.errors[0])
    if found is None or args.failed_operation == "delete":
        return None
    kind, name = found.groups()
    return f"{kind}/{name}" if kind == "namespaces" or args.failed_operation == "update" else None
