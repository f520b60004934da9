"""Limits of what a stack may cost."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from infra.config import quantities
from infra.config.rules import Rule
from infra.config.section import Model

Dollars = Annotated[
    float,
    Field(strict=True, gt=0),
    BeforeValidator(quantities.number),
    Rule(
        must="must be an amount of US dollars above 0",
        because="a stack that may cost more is refused by `mlops cost`",
        instead="write it as in 1500 or 19.5, or leave the key out for no limit",
    ),
]


class Budget(Model):
    """Limits of what the stack may cost, in US dollars."""

    month_usd: Dollars | None = None
    """Limit in US dollars for a month with every node pool at its maximum, without usage.
    Example: 1500
    """
    run_usd: Dollars | None = None
    """Limit in US dollars for one run of a training, a validation or a batch until its deadline. Example: 20"""
