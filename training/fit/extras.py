"""Parts of a run that are nice to have beside the model, such as pictures; none of them may fail the run."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from training.failure import StoppedError
from training.mlflow_logging import TrackingError, reason

LOG = logging.getLogger("training")
TAG = "extras_failed"
"""Tag of run and version: the parts that could not be made, and why."""


@dataclass(frozen=True)
class Extras:
    """Remembers which parts could not be made."""

    failed: dict[str, str] = field(default_factory=dict[str, str])
    """The reason, by the part's name."""

    @contextmanager
    def attempt(self, part: str) -> Generator[None]:
        """Run the block; when it fails, log a warning and go on.

        A run that is stopped, or that lost MLflow, still ends.
        """
        try:
            yield
        except (StoppedError, TrackingError):
            raise
        except Exception as error:
            self.failed[part] = reason(error)
            LOG.warning("%s could not be made (%s); the run goes on without", part, reason(error), exc_info=True)

    @property
    def tags(self) -> dict[str, str]:
        """The tag that names the failed parts; none when all were made."""
        said = "; ".join(f"{part}: {why}" for part, why in self.failed.items())
        return {TAG: said[:5000]} if said else {}
