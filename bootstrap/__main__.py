"""Entry point of the Pulumi program that prepares an AWS account."""

import sys

import pulumi

from bootstrap.program import deploy
from bootstrap.settings import read

ERROR_ALREADY_LOGGED = 32
"""Exit code that tells Pulumi's language host that the error has been logged."""

try:
    deploy(read())
except pulumi.RunError as error:
    pulumi.log.error(str(error))
    sys.exit(ERROR_ALREADY_LOGGED)
