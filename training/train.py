"""Trains a project's model and registers it: `python -m training.train`. All input comes from the environment.

Exit code 0: a version is registered. 2: the dataset or a setting is wrong, so another try would fail in the same way.
1: any other failure. The last line of the log is also the termination message of the container.

The libraries that train take seconds to import. So they are imported after the settings are checked.
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
    result = attempt()
    return result.code if isinstance(result, Failure) else ExitCode.DONE


def attempt(**settings: object) -> int | Failure | None:
    """Run one training; arguments take precedence over the environment.

    Return the number of the new version, None for a point of a sweep that registers nothing, or the failure.
    """
    outlive_the_reader()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for chatty in ("botocore", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # we log its retries ourselves
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # it warns about pip, which the image lacks
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        loaded = Settings.load(**settings)
        LOG.info("%s: training a model with %s", loaded.project, loaded.dataset)
        loaded.prepare_process()
        from training import run

        version = run.train(loaded)
    except Exception as error:
        failure = _explain(error)
        if failure.defect:
            LOG.exception("unexpected error, a defect in the training code:")
        LOG.log(logging.ERROR, "%s", failure.sentence)
        _write_termination_message(failure.sentence, Termination().termination_log)
        return failure
    if version is not None:
        LOG.info("registered %s version %s", loaded.model, version)
    return version


def _explain(error: Exception) -> Failure:
    if isinstance(error, SettingsError):
        return Failure(ExitCode.BAD_INPUT, str(error))
    from training import run

    return run.explain(error)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise StoppedError(
        "stopped by a signal (deadline, eviction, deletion or Ctrl-C); start the job again, or raise its deadline",
        ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.FAILED,
    )


def _write_termination_message(sentence: str, termination_log: Path) -> None:
    """Write the message for Kubernetes. The kubelet creates the file; without it, nothing reads the message."""
    if termination_log.exists():
        with contextlib.suppress(OSError):
            termination_log.write_text(sentence)


if __name__ == "__main__":
    sys.exit(main())
