"""The program: `main` of Pulumi.yaml."""

from infra.program import deploy
from infra.settings import read

deploy(read())
