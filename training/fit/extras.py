"""Optional parts of a run, such as plots. The run goes on if one of them fails."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from training.failure import StoppedError
from training.mlflow_logging import TrackingError, reason

LOG = logging.getLogger("training")
TAG = "extras_failed"
"""Tag of a run and of a version: the optional parts that failed, with the reason."""


@dataclass(frozen=True)
class Extras:
    """Collects the optional parts that failed."""

    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Reason of the failure, by name of the part."""

    @contextmanager
    def attempt(self, part: str) -> Generator[None]:
        """Run the block; if it fails, log a warning and go on.

        StoppedError and TrackingError pass: they end the run.
        """
        try:
            yield
        except (StoppedError, TrackingError):
            raise
        except Exception as error:
            self.failed[part] = reason(error)
            LOG.warning("%s could not be made (%s); the run goes on without it", part, reason(error), exc_info=True)

    @property
    def tags(self) -> dict[str, str]:
        """Tag that names the failed parts; empty if none failed."""
        failures = "; ".join(f"{part}: {why}" for part, why in self.failed.items())
        return {TAG: failures[:5000]} if failures else {}
