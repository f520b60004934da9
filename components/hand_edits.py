"""Fields that somebody changed by hand, with kubectl or otherwise: the program's value wins."""

from pulumi import ResourceOptions, ResourceTransformationArgs, ResourceTransformationResult

PATCH_FORCE = "PULUMI_K8S_ENABLE_PATCH_FORCE"
"""Environment variable of the `kubernetes` plugin: with `true` it takes back what others changed instead of failing."""


def overwritten(opts: ResourceOptions) -> ResourceOptions:
    """Options of a Kubernetes provider whose objects get the program's values back, whoever changed them.

    A plugin of 4.29 or later reads `enablePatchForce`. Earlier ones ignore it and read only PATCH_FORCE from the
    environment of `pulumi`; and the types of their SDK do not have the argument, so it is set here.
    """
    return ResourceOptions.merge(opts, ResourceOptions(transformations=[_enable]))


def _enable(args: ResourceTransformationArgs) -> ResourceTransformationResult:
    return ResourceTransformationResult({**args.props, "enablePatchForce": "true"}, args.opts)
