"""Base class of all sections of a stack file."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen settings: an unknown key is an error, and defaults are validated too."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
