"""Rule for the image of an endpoint, a batch or a validation."""

from typing import Annotated, Literal

from infra.config import rules
from model_preview.images import AUTO

EndpointImage = Annotated[
    Literal["auto"] | rules.Image,
    rules.Rule(
        must="must be auto, or a full image name with a tag other than latest, or with a digest",
        because="otherwise another image could run without a change of this file",
        instead="write image: auto, or the name that `mlops image MODEL --version N` printed, or leave the key out",
    ),
]


def own(image: str | None) -> str | None:
    """Return the image that an endpoint names itself; None for `auto` and for the standard image."""
    return None if image == AUTO else image
