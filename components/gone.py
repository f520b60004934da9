"""Objects that somebody deleted by hand. Pulumi has them on record, and an update that needs one fails.

The `kubernetes` plugin then says `namespaces "ml-training" not found` and not how Pulumi learns of it.
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
    """Name `pulumi up --refresh` when an object of the cluster, of those declared after this, is gone."""
    said = set[str]()

    async def on_error(args: ErrorHookArgs) -> bool:
        missing = missing_object(args)
        if missing and missing not in said:
            said.add(missing)
            pulumi.log.error(
                f"{args.name}: the cluster has no {missing}, which Pulumi made and has on record: somebody deleted it; "
                "run pulumi up --refresh, which reads the cluster first and makes again what is gone"
            )
        return False

    hooks = ResourceHookBinding(on_error=[ErrorHook("gone", on_error)])

    def bind(args: ResourceTransformationArgs) -> ResourceTransformationResult | None:
        if not args.type_.startswith("kubernetes:"):
            return None
        return ResourceTransformationResult(args.props, ResourceOptions.merge(args.opts, ResourceOptions(hooks=hooks)))

    pulumi.runtime.register_stack_transformation(bind)


def missing_object(args: ErrorHookArgs) -> str | None:
    """Return the object that the failed operation did not find: itself or its namespace; None for any other failure."""
    found = NOT_FOUND.search(args.errors[0])
    if found is None or args.failed_operation == "delete":
        return None
    kind, name = found.groups()
    return f"{kind}/{name}" if kind == "namespaces" or args.failed_operation == "update" else None
