"""The program: `main` of Pulumi.yaml."""

import sys

import pulumi

from infra.config.stack import read
from infra.program import deploy

SHOWN = 32
"""Exit code that tells Pulumi's language host that the user has read what is wrong: any other that is not 0 is reported
as an unhandled error on top (sdk/python/cmd/pulumi-language-python-exec)."""

try:
    deploy(read())
except pulumi.RunError as error:
    pulumi.log.error(str(error))
    sys.exit(SHOWN)
