"""Trains a project's model and registers it: `python -m training.train`. Its input is the environment alone.

Exit code 0: a version is registered. 2: the dataset or a setting is wrong, so another try would fail the same way.
1: anything else. The last line of the log is one sentence, and so is the termination message of the container.

The first line comes at once, and wrong settings are told at once: what trains is imported after that, for seconds.
"""

import contextlib
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

from contract.exit_codes import ExitCode
from training.failure import Failure, StoppedError
from training.output import outlive_the_reader
from training.settings import Settings, SettingsError, Termination

LOG = logging.getLogger("training")


def main() -> int:
    """Run the training that the environment describes and return the exit code."""
    ended = attempt()
    return ended.code if isinstance(ended, Failure) else ExitCode.DONE


def attempt(**given: object) -> int | Failure | None:
    """Run one training; values that are given take precedence over the environment.

    Return the number of the new version, None for a point of a sweep that registers nothing, or how the run failed.
    """
    outlive_the_reader()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for chatty in ("botocore", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # of its retries we tell in our own words
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # misses pip, which the image does not have
    for order in (signal.SIGTERM, signal.SIGINT):
        signal.signal(order, _stop)
    try:
        settings = Settings.load(**given)
        LOG.info("%s: a model is trained from %s", settings.project, settings.dataset)
        settings.prepare_process()
        from training import run

        number = run.train(settings)
    except Exception as error:
        failure = _explain(error)
        if failure.defect:
            LOG.exception("a defect in the training code:")
        LOG.log(logging.ERROR, "%s", failure.sentence)
        _leave(failure.sentence, Termination().termination_log)
        return failure
    if number is not None:
        LOG.info("registered %s version %s", settings.model, number)
    return number


def _explain(error: Exception) -> Failure:
    if isinstance(error, SettingsError):
        return Failure(ExitCode.BAD_INPUT, str(error))
    from training import run

    return run.explain(error)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise StoppedError(
        "stopped from outside (deadline, eviction, deletion or Ctrl-C); start the job again, or give it more time",
        ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.FAILED,
    )


def _leave(sentence: str, termination_log: Path) -> None:
    """The sentence where Kubernetes looks for it; the kubelet makes the file, so without one nobody looks."""
    if termination_log.exists():
        with contextlib.suppress(OSError):
            termination_log.write_text(sentence)


if __name__ == "__main__":
    sys.exit(main())
