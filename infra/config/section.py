"""Base class of all sections of a stack file."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen settings: an unknown key is an error, and defaults are validated too.

    Pydantic builds the validator of a class at its first use, which most sections never have: the validator of the
    whole file contains theirs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, defer_build=True)
