"""Provider options by which the program's values overwrite fields that were changed outside Pulumi."""

from pulumi import ResourceOptions, ResourceTransformationArgs, ResourceTransformationResult

PATCH_FORCE = "PULUMI_K8S_ENABLE_PATCH_FORCE"
"""Environment variable of the `kubernetes` plugin: `true` overwrites fields changed by others instead of failing."""


def with_patch_force(opts: ResourceOptions) -> ResourceOptions:
    """Return provider options that overwrite fields of Kubernetes objects which others have changed.

    The plugin reads `enablePatchForce` from 4.29 on. Earlier plugins read only PATCH_FORCE from the environment of
    `pulumi`, and their SDK has no such argument, so a transformation sets it.
    """
    return ResourceOptions.merge(opts, ResourceOptions(transformations=[_enable]))


def _enable(args: ResourceTransformationArgs) -> ResourceTransformationResult:
    return ResourceTransformationResult({**args.props, "enablePatchForce": "true"}, args.opts)
