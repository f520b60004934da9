"""Two costs of Pulumi's SDK that grow with the number of resources, and how the program avoids them.

`python -m bench.preview` measures both.
"""

import asyncio

import pulumi
from pulumi import ResourceTransformationArgs

_declared = list[pulumi.Resource]()


def avoid() -> None:
    """Avoid both costs; call this before the first resource, and `settle` as the last step of the program."""
    pulumi.runtime.register_stack_transformation(_remember)
    # The SDK sends about five messages for each resource, in blocking calls; only `pulumi --debug` would show them.
    pulumi.log.debug = _drop


async def settle() -> None:
    """Wait until the engine has answered for each resource.

    Without this, the SDK waits for all unresolved outputs again whenever one is resolved. After it, few are left. The
    SDK itself reports the resources that failed.
    """
    await asyncio.gather(*(resource.urn.future() for resource in _declared), return_exceptions=True)


def _remember(args: ResourceTransformationArgs) -> None:
    _declared.append(args.resource)


def _drop(*_: object, **__: object) -> None:
    """Drop a message."""
