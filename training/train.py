"""Trains the churn model and registers it: `python -m training.train`. Its input is the environment alone.

Exit code 0: a version is registered. 2: the dataset or a setting is wrong, so another try would fail the same way.
1: anything else. The last line of the log is one sentence, and so is the termination message of the container.
"""

import contextlib
import errno
import logging
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import mlflow
import pandas as pd
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow.exceptions import MlflowException
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from training import churn, data, tracking
from training.settings import Settings, SettingsError, Termination

LOG = logging.getLogger("training")
SEED = 7
TEST_SHARE = 0.25
EXAMPLE_ROWS = 3


class StoppedError(Exception):
    """The process was told to end: the job's deadline, an eviction, a deleted pod."""


@dataclass(frozen=True)
class Failure:
    """How a run ends that registers nothing."""

    code: int
    sentence: str
    defect: bool = False
    """It is our fault: the traceback is worth reading."""


def main() -> int:
    """Runs one training and returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # misses pip, which the image does not have
    signal.signal(signal.SIGTERM, _stop)
    try:
        settings = Settings.load()
        settings.prepare_process()
        number = train(settings)
    except Exception as error:
        failure = explain(error)
        if failure.defect:
            LOG.exception("a defect in the training code:")
        LOG.log(logging.ERROR, "%s", failure.sentence)
        _leave(failure.sentence, Termination().termination_log)
        return failure.code
    LOG.info("registered %s version %s", settings.model, number)
    return 0


def train(settings: Settings) -> int:
    """Reads, fits, scores, logs and registers. Returns the number of the new version.

    From the moment that MLflow answers there is a run, and it says FAILED, and why, when this raises.
    """
    tracking.wait_for_mlflow(settings.mlflow_tracking_uri, settings.mlflow_patience_seconds)
    tracking.open_experiment(settings.mlflow_tracking_uri, settings.experiment)
    with mlflow.start_run(tags=settings.origin) as run:
        LOG.info("run %s in experiment %s", run.info.run_id, settings.experiment)
        try:
            return _train_in_run(settings)
        except Exception as error:
            with contextlib.suppress(MlflowException):
                mlflow.set_tag("mlflow.note.content", explain(error).sentence)
            raise


def _train_in_run(settings: Settings) -> int:
    mlflow.log_params(settings.parameters)
    LOG.info("reading %s", settings.dataset)
    dataset = data.load(settings.dataset, churn.COLUMNS, churn.TARGET)
    LOG.info("%d rows, digest sha256:%s", len(dataset.table), dataset.digest)
    if dataset.ignored:
        LOG.info("columns not used: %s", ", ".join(dataset.ignored))
    tracking.log_dataset(dataset, churn.SIGNATURE)

    known, unseen = train_test_split(
        dataset.table, test_size=TEST_SHARE, random_state=SEED, stratify=dataset.table[churn.TARGET.name]
    )
    LOG.info("fitting %d trees of depth %d on %d rows", settings.n_estimators, settings.max_depth, len(known))
    model = churn.pipeline(**settings.parameters, seed=SEED).fit(known[churn.FEATURES], known[churn.TARGET.name])
    # A server predicts few rows at a time: starting threads for them costs more than it saves.
    model.set_params(forest__n_jobs=1)

    scores = score(model, unseen)
    LOG.info("on %d unseen rows: %s", len(unseen), scores)
    mlflow.log_metrics(asdict(scores))

    LOG.info("logging the model")
    model_uri = tracking.log_model(model, churn.SIGNATURE, _example(dataset.table))
    return tracking.register(
        settings.model,
        model_uri,
        description=f"{_words(settings)} on {len(dataset.table)} rows of {dataset.uri}: {scores}",
        tags=settings.origin
        | {"dataset": dataset.uri, "dataset_digest": dataset.digest}
        | {name: f"{value:.4f}" for name, value in asdict(scores).items()},
    )


def score(model: Pipeline, unseen: pd.DataFrame) -> tracking.Scores:
    """How the model does on rows it has not seen; the run gets the picture of it."""
    truth = unseen[churn.TARGET.name].to_numpy()
    predicted = model.predict(unseen[churn.FEATURES])
    positive = churn.TARGET.labels[-1]
    probability = model.predict_proba(unseen[churn.FEATURES])[:, list(model.classes_).index(positive)]
    tracking.log_confusion(confusion_matrix(truth, predicted, labels=churn.TARGET.labels), churn.TARGET.labels)
    return tracking.Scores(
        accuracy=float(accuracy_score(truth, predicted)),
        f1=float(f1_score(truth, predicted, pos_label=positive)),
        roc_auc=float(roc_auc_score(truth == positive, probability)),
    )


def explain(error: Exception) -> Failure:
    """What a failed run leaves behind."""
    match error:
        case SettingsError() | data.DataError():
            return Failure(2, str(error))
        case data.StoreError() | tracking.TrackingError() | StoppedError():
            return Failure(1, str(error))
        case MlflowException():
            return Failure(1, f"MLflow refused, or went away: {_line(error)}; see its log, then start the job again")
        case Boto3Error() | BotoCoreError() | ClientError():
            return Failure(1, f"the artifact store failed: {_line(error)}; check MLFLOW_S3_ENDPOINT_URL and the bucket")
        case OSError(errno=errno.ENOSPC):
            where = error.filename or tempfile.gettempdir()
            return Failure(1, f"no space left while writing {where}; give the job more ephemeral storage")
        case _:
            return Failure(1, f"unexpected {type(error).__name__}: {_line(error)}; the traceback is above", defect=True)


def _line(error: BaseException) -> str:
    """The innermost reason: `Connection refused`, not what five layers made of it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return " ".join(str(error).split())[:500]


def _example(table: pd.DataFrame) -> pd.DataFrame:
    return table[churn.FEATURES].dropna().head(EXAMPLE_ROWS).reset_index(drop=True)


def _words(settings: Settings) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.parameters.items())


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise StoppedError(
        "stopped from outside (deadline, eviction or deletion); start the job again, or give it more time"
    )


def _leave(sentence: str, termination_log: Path) -> None:
    """The sentence where Kubernetes looks for it; the kubelet makes the file, so without one nobody looks."""
    if termination_log.exists():
        with contextlib.suppress(OSError):
            termination_log.write_text(sentence)


if __name__ == "__main__":
    sys.exit(main())
