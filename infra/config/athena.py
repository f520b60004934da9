"""Settings of Athena over the prediction log, with their rules."""

from typing import Annotated

from pydantic import Field

from infra.config.rules import Rule
from infra.config.section import Model

GiB = Annotated[
    int,
    Field(strict=True, ge=1, le=102_400),
    Rule(
        must="must be a whole number of GiB from 1 to 102400",
        because="Athena ends a statement that reads more, and its price follows from what it reads",
        instead="write it as in query_limit_gib: 100",
    ),
]
Days = Annotated[
    int,
    Field(strict=True, ge=1, le=365),
    Rule(
        must="must be a whole number of days from 1 to 365",
        because="results hold rows of the prediction log, and are deleted after this time",
        instead="write it as in result_days: 7",
    ),
]
NEEDS_AWS = Rule(
    must="must be used with mlops:foundation.kind aws",
    because="Athena is a service of AWS",
    instead="remove the key; `mlops drift` reads the log itself, which is its default",
)


class Athena(Model):
    """Athena over the prediction log: a workgroup, a database with tables, and a bucket for results (docs/drift.md)."""

    query_limit_gib: GiB = 100
    """Largest number of GiB that one statement may read; Athena ends a statement that reads more. Example: 100"""
    result_days: Days = 7
    """Days after which a result is deleted. Example: 7"""
