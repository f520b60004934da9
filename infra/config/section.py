"""What all sections of a stack file have in common."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen; a key it does not know is an error; defaults obey the rules of what is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
