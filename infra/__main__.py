"""Entry point of the Pulumi program (`main` in Pulumi.yaml)."""

import gc
import sys

# The imported modules' objects live until the end; looking for garbage among them costs a tenth of its CPU time.
gc.disable()

import pulumi

from infra import sdk_cost
from infra.config.stack import read
from infra.program import deploy

ERROR_ALREADY_LOGGED = 32
"""Exit code that tells Pulumi's language host that the error has been logged; for any other code than 0, the host also
reports an unhandled error (sdk/python/cmd/pulumi-language-python-exec)."""

try:
    sdk_cost.avoid()
    deploy(read())
except pulumi.RunError as error:
    pulumi.log.error(str(error))
    sys.exit(ERROR_ALREADY_LOGGED)
gc.freeze()
gc.enable()
pulumi.run(sdk_cost.settle)
