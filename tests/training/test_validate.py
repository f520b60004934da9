"""Validations of versions against a champion of twelve trees, fitted on 1,500 rows; about a quarter is held out."""

import json
import os
import pickle
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
import pandas as pd
import pytest
import skops.io
import yaml
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from contract.digest import folder_digest
from contract.stages import RefusedError, Stage
from contract.tags import MODEL_DIGEST
from tests.registry import Registry, write_sample
from tests.served import served
from training import mlflow_logging, project, validate
from training.data import reading, split
from training.data.source import StoreError
from training.project import Model, Project
from training.registry import client as versions
from training.registry import promote
from training.validation import candidate, checks, turn
from training.validation.candidate import Candidate
from training.validation.checks import Findings, Inputs
from training.validation.limits import Limits

pytestmark = pytest.mark.long

# A machine under test may be slow; how slow is not what these tests are about.
LIMITS = Limits(latency_ms=10_000, resamples=100)
MODEL = f"validated-{os.getpid()}"
CHAMPION, ALIKE, WORSE, RENAMED = 1, 2, 3, 4


@dataclass(frozen=True)
class Made:
    """Four versions in the registry: the champion, a similar one, a worse one, and one with a renamed column."""

    uri: str
    folder: Path
    dataset: Path
    project: Project[Any]

    @property
    def client(self) -> versions.Client:
        return versions.connect(self.uri)

    def version(self, number: int) -> ModelVersion:
        return self.client.get_model_version(MODEL, str(number))

    def candidate(self, number: int) -> Candidate:
        return Candidate(number, self.folder / str(number))

    def command(self, number: object, **told: str) -> int:
        """Run the command; without a number if it is empty."""
        options = [word for name, value in told.items() for word in (f"--{name}", value)]
        return validate.main(["--tracking-uri", self.uri, MODEL, *filter(None, [str(number)]), *options])

    def report(self, number: int, name: str = "report.json") -> str:
        run = self.version(number).tags["validation_run"]
        place = mlflow.artifacts.download_artifacts(run_id=run, artifact_path=name, tracking_uri=self.uri)
        return Path(place).read_text()


@pytest.fixture(scope="module")
def made(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("validated")
    dataset = folder / "churn.csv"
    write_sample(dataset, 2000)
    declared = project.load("churn")
    made = Made(registry.uri, folder, dataset, declared)
    table = reading.load(str(dataset), declared)
    known, _ = split.divide(declared, table.table)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(registry.dataset.parent)  # MLflow puts the artifacts of a local store where the process stands
        mlflow_logging.open_experiment(registry.uri, MODEL)
        for number, parameters in (
            (CHAMPION, {"n_estimators": 12, "max_depth": 5}),
            (ALIKE, {"n_estimators": 10, "max_depth": 5}),
            (WORSE, {"n_estimators": 1, "max_depth": 1}),
        ):
            read = project.read_parameters(declared, parameters)
            model = declared.fit(split.rows(declared, known), read)
            save(declared, model, known, folder / str(number))
        shutil.copytree(folder / str(ALIKE), folder / str(RENAMED))
        edit(folder / str(RENAMED), lambda told: rename(told, "tenure", "months"))
        for number in (CHAMPION, ALIKE, WORSE, RENAMED):
            register(made, folder / str(number), table.digest)
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        if stage is Stage.STAGING:
            validate.validate(made.client, made.uri, asked(CHAMPION))
        promote.promote(
            made.client, promote.Request(model=MODEL, version=CHAMPION, stage=stage, by="ada", commit="", why="")
        )
    return made


def save(declared: Project[Any], model: Model, known: pd.DataFrame, folder: Path) -> None:
    profile = folder.parent / "reference_profile.json"
    profile.write_text("{}")
    words = {column.name: object for column in declared.columns if column.kind == "category"}
    example = known[declared.features].dropna().head(3).reset_index(drop=True).astype(words)
    mlflow_logging.save_model(declared, model, folder, example=example, profile=profile, ranges={})


def register(made: Made, folder: Path, digest: str) -> None:
    copied = folder.parent / "logged"
    shutil.copytree(folder, copied)
    with mlflow.start_run() as run:
        uri, _ = mlflow_logging.log_model(copied, run.info)
    tags = {"project": "churn", "dataset": str(made.dataset), "dataset_digest": digest}
    mlflow_logging.register(MODEL, mlflow_logging.Version(model_uri=uri, description="a forest", tags=tags))
    shutil.rmtree(copied)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of the file MLmodel."""
    told = yaml.safe_load((folder / "MLmodel").read_text())
    change(told)
    (folder / "MLmodel").write_text(yaml.safe_dump(told))


def rename(told: dict[str, Any], old: str, new: str) -> None:
    told["signature"]["inputs"] = told["signature"]["inputs"].replace(f'"{old}"', f'"{new}"')


def asked(number: int, limits: Limits = LIMITS) -> validate.Request:
    return validate.Request(model=MODEL, version=number, limits=limits)


def test_a_version_as_good_as_the_champion_passes_and_the_registry_holds_the_evidence(made: Made) -> None:
    for _ in range(2):  # done again, it says the same
        assert validate.validate(made.client, made.uri, asked(ALIKE)).refusals == []
    version = made.version(ALIKE)
    assert version.tags | {"validation_status": "passed", "validated_against": "1"} == version.tags
    assert re.fullmatch(
        rf"a forest\n\nValidation: {MODEL} version 2 passed against version 1: "
        r"roc_auc 0\.8\d\d \(0\.\d+ to 0\.\d+\), [+-]0\.\d+ \([+-]0\.\d+ to [+-]0\.\d+\)",
        version.description or "",
    )
    report = json.loads(made.report(ALIKE))
    assert report["champion"] == 1
    assert report["status"] == "passed"
    assert report["scores"]["rows"] == 516
    assert {one["name"] for one in report["slices"]} == {
        "contract is Month-to-month",
        "contract is One year",
        "contract is Two year",
    }


@pytest.fixture
def endpoint() -> Iterator[str]:
    """URL of an endpoint that serves version 2, which was never promoted."""

    class Serves(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("X-Model-Version", str(ALIKE))
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            del code, size  # silent

    with ThreadingHTTPServer(("127.0.0.1", 0), Serves) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_version_that_the_stack_serves_is_the_champion_whatever_the_alias_says(
    made: Made, endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENDPOINT", endpoint)
    assert made.command(WORSE) == 3
    assert "against version 2 on the same 516 rows" in capsys.readouterr().err
    tags = made.version(WORSE).tags
    assert (tags["validated_against"], tags["champion_alias_at_validation"]) == ("2", "1")


def test_where_no_endpoint_answers_the_alias_says_who_is_the_champion_and_that_is_noted(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENDPOINT", "http://127.0.0.1:1")
    assert made.command(WORSE) == 3
    told = capsys.readouterr()
    assert "against version 1 on the same 516 rows" in told.err
    assert (
        "http://127.0.0.1:1 does not say which version it serves, so the version with the alias @champion is used"
        in told.out
    )


@pytest.mark.parametrize("version", [ALIKE, ""], ids=["VERSION", "no VERSION"])
def test_an_endpoint_that_serves_the_version_is_tested_and_the_champion_stays_the_champion(
    made: Made, capsys: pytest.CaptureFixture[str], version: object
) -> None:
    with served(made.folder / str(ALIKE), MODEL, ALIKE) as url:
        assert made.command(version, endpoint=url) == 0
    told = capsys.readouterr().out
    assert f"note    endpoint under test: {url} serves this version and was tested" in told
    assert "ok      endpoint predicts held-out rows: 100 predictions are those of the downloaded files" in told
    assert "ok      endpoint predicts the input example: 3 predictions are those of the downloaded files" in told
    assert re.search(r"ok      endpoint refuses a missing column: responds 400 \(Model is missing inputs", told)
    assert made.version(ALIKE).tags["validated_against"] == "1"
    report = json.loads(made.report(ALIKE))
    assert {"endpoint version", "endpoint pages"} <= {check["name"] for check in report["checks"]}


def test_an_endpoint_that_predicts_something_else_refuses_the_version(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(made.folder / str(WORSE), MODEL, ALIKE) as url:
        assert made.command(ALIKE, endpoint=url) == 3
    assert re.search(
        r"is refused: .*the endpoint predicts '(Yes|No)' for row \d+ of held-out rows, and the downloaded files "
        r"predict '(Yes|No)' \(\d+ of 100 rows differ\)",
        capsys.readouterr().err,
    )
    assert made.version(ALIKE).tags["validation_status"] == "refused"


def test_an_endpoint_that_cannot_be_tested_changes_nothing_of_the_version(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    validate.validate(made.client, made.uri, asked(ALIKE))
    before = made.version(ALIKE).tags
    with served(made.folder / str(WORSE), MODEL, WORSE) as url:
        assert made.command(ALIKE, endpoint=url) == 2
        assert f"{url} serves version 3, so version 2 cannot be tested there" in capsys.readouterr().err
    assert made.command(ALIKE, endpoint="http://127.0.0.1:1") == 1
    assert "http://127.0.0.1:1 cannot be tested: /ping does not respond" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        made.command(ALIKE, endpoint="churn-staging")
    assert "'churn-staging' is not a URL; write one such as http://" in capsys.readouterr().err
    assert made.version(ALIKE).tags == before


def test_a_version_that_cannot_predict_is_refused_for_that_and_its_endpoint_is_not_tested(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.candidate, "measure_latency", failing(candidate.UnusableError("it cannot predict")))
    with served(made.folder / str(ALIKE), MODEL, ALIKE) as url:
        found = validate.validate(made.client, made.uri, replace(asked(ALIKE), tested_endpoint=url))
    assert found.refusals == ["it cannot predict"]
    assert not [check for check in found.checks if check.name.startswith("endpoint")]


def test_a_version_without_a_digest_gets_that_of_its_files(made: Made) -> None:
    with suppress(MlflowException):  # a test before may have written none
        made.client.delete_model_version_tag(MODEL, str(ALIKE), MODEL_DIGEST)
    validate.validate(made.client, made.uri, asked(ALIKE))
    source = mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{ALIKE}", tracking_uri=made.uri)
    digest = made.version(ALIKE).tags[MODEL_DIGEST]
    assert digest == folder_digest(Path(source))
    check = json.loads(made.report(ALIKE))["checks"][0]
    assert (check["outcome"], check["said"]) == ("passed", f"sha256 {digest}, now in the tag model_digest")


def test_a_version_whose_files_are_not_the_registered_ones_is_refused(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.client.set_model_version_tag(MODEL, str(RENAMED), MODEL_DIGEST, "0" * 64)
    try:
        assert made.command(RENAMED) == 3
        assert f"its tag model_digest says {'0' * 64}, so a file or the tag was changed" in capsys.readouterr().err
        assert made.version(RENAMED).tags[MODEL_DIGEST] == "0" * 64
    finally:
        made.client.delete_model_version_tag(MODEL, str(RENAMED), MODEL_DIGEST)


def test_a_worse_version_is_refused_with_the_interval_and_cannot_be_promoted(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.command(WORSE) == 3
    told = capsys.readouterr()
    interval = r"roc_auc -0\.\d+ \(-0\.\d+ to -0\.\d+\) against version 1 on the same 516 rows: worse by more than 0.03"
    assert re.search(interval, told.err.splitlines()[-1])
    assert re.search(rf"REFUSED roc_auc compared with the champion: {interval}", told.out)
    assert made.version(WORSE).tags["validation_status"] == "refused"
    with pytest.raises(RefusedError, match="was refused by its validation"):
        promote.promote(
            made.client,
            promote.Request(model=MODEL, version=WORSE, stage=Stage.STAGING, by="ada", commit="", why=""),
        )


def test_a_version_with_a_renamed_column_is_refused_as_breaking(made: Made) -> None:
    found = validate.validate(made.client, made.uri, asked(RENAMED))
    assert found.refusals[0] == (
        "it breaks clients of version 1: the column months is new and required, the column tenure is removed"
    )
    assert made.version(RENAMED).tags["validation_status"] == "refused"


def test_the_report_is_a_page_of_its_own(made: Made) -> None:
    validate.validate(made.client, made.uri, asked(WORSE))
    page = made.report(WORSE, "report.html")
    assert '<span class="refused">refused</span>' in page
    assert "contract is Two year" in page
    assert page.count("<svg") == 3 + 3  # three metrics, three slices
    assert not re.search(r"<(script|link|img)|https?:", page)


def test_a_page_that_cannot_be_made_costs_no_verdict(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.validation.report.html", failing(RuntimeError("it broke")))
    validate.validate(made.client, made.uri, asked(ALIKE))
    tags = made.version(ALIKE).tags
    assert tags["validation_status"] == "passed"
    assert tags["validation_report"] == "report.json"
    assert json.loads(made.report(ALIKE))["status"] == "passed"


def test_reports_go_to_the_folder_of_the_environment_and_stay_there(tmp_path: Path) -> None:
    client = versions.connect(f"sqlite:///{tmp_path}/mlflow.db")
    first = validate.reports_experiment(client, "s3://bucket/validations")
    assert validate.reports_experiment(client, "s3://other/validations") == first
    kept = client.get_experiment_by_name(validate.EXPERIMENT)
    assert kept
    assert kept.artifact_location == "s3://bucket/validations"


def test_a_validation_that_breaks_leaves_no_older_answer_standing(made: Made, tmp_path: Path) -> None:
    validate.validate(made.client, made.uri, asked(ALIKE))
    assert made.command(ALIKE, dataset=str(tmp_path / "gone.csv")) == 2
    assert made.version(ALIKE).tags["validation_status"] == "broken"


def failing(error: BaseException) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail


@pytest.mark.parametrize("error", [StoreError("S3 is away"), KeyboardInterrupt()])
def test_a_validation_that_may_do_better_at_another_try_leaves_the_version_to_the_schedule(
    made: Made, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(checks, "run_checks", failing(error))
    assert made.command(ALIKE) == 1
    assert not made.version(ALIKE).tags.keys() & {"validation_status", "validation_turn"}
    assert validate.newest(made.client, MODEL) == ALIKE


def test_a_validation_that_another_one_overtakes_writes_no_answer(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_checks = checks.run_checks

    def overtaken(inputs: Inputs) -> Findings:
        turn.acquire(made.client, made.version(ALIKE), turn.of_this_process(60))
        return run_checks(inputs)

    monkeypatch.setattr(checks, "run_checks", overtaken)
    assert made.command(ALIKE) == 1
    assert "which started later, so its result counts" in capsys.readouterr().err
    assert made.version(ALIKE).tags["validation_status"] == "running"


@pytest.mark.parametrize(
    ("number", "told", "said"),
    [
        ("9", {}, "has no version 9; versions that exist: 1, 2, 3, 4"),
        ("2", {"project": "curn"}, "churn"),
        ("2", {"dataset": "/no/such.csv"}, "/no/such.csv cannot be read"),
    ],
)
def test_what_cannot_be_looked_at_is_bad_input(
    made: Made, capsys: pytest.CaptureFixture[str], number: str, told: dict[str, str], said: str
) -> None:
    assert made.command(number, **told) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_without_a_number_the_newest_without_a_validation_is_taken(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (ALIKE, WORSE, RENAMED):
        made.client.set_model_version_tag(MODEL, str(number), "validation_status", "passed")
    made.client.delete_model_version_tag(MODEL, str(WORSE), "validation_status")
    assert validate.newest(made.client, MODEL) == WORSE
    made.client.set_model_version_tag(MODEL, str(WORSE), "validation_status", "passed")
    assert validate.main(["--tracking-uri", made.uri, MODEL]) == 0
    assert f"no version of {MODEL} needs a validation" in capsys.readouterr().out


def test_a_wrong_limit_is_reported_before_anything_is_touched(
    made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.version(CHAMPION).tags
    monkeypatch.setenv("VALIDATION", '{"any_loss": 7}')
    assert made.command(CHAMPION) == 2
    assert "VALIDATION any_loss" in capsys.readouterr().err
    assert made.version(CHAMPION).tags == before


@pytest.fixture
def judged(made: Made, tmp_path: Path) -> Callable[..., Findings]:
    """Return a function that checks a version, by default the one like the champion, with changed files or limits."""
    table = reading.load(str(made.dataset), made.project).table
    folder = tmp_path / "version"

    def run_checks(change: Callable[[Path], object] = str, number: int = ALIKE, **limits: object) -> Findings:
        shutil.copytree(made.folder / str(number), folder)
        change(folder)
        inputs = Inputs(
            project=made.project,
            new=Candidate(2, folder),
            old=made.candidate(CHAMPION),
            table=table,
            recorded={},
            limits=Limits.model_validate(LIMITS.model_dump() | limits),
        )
        return checks.run_checks(inputs)

    return run_checks


def refusals(found: Findings) -> str:
    return "; ".join(check.said for check in found.checks if check.outcome == "refused")


def test_all_limits_that_are_not_kept_are_reported_at_once(judged: Callable[..., Findings]) -> None:
    told = refusals(
        judged(least={"roc_auc": 0.99}, slice_least={"roc_auc": 0.9}, size_mb=0.01, latency_ms=0.001)
    ).split("; ")
    for said, sentence in zip(
        (
            r"its files have 0\.\d MB, and may have 0\.01 MB",
            r"95 % of the predictions for one row take at most [\d.]+ ms, and may take 0\.001 ms",
            r"roc_auc is 0\.8\d\d on 516 unseen rows, and must be at least 0\.99",
            r"roc_auc is 0\.\d+ where contract is \S+ \(\d+ rows\), and must be at least 0\.9",
        ),
        told[:4],
        strict=True,
    ):
        assert re.fullmatch(said, sentence)


def drop(key: str) -> Callable[[Path], object]:
    return lambda folder: edit(folder, lambda told: told.pop(key))


def make_older(folder: Path) -> None:
    file = folder / "requirements.txt"
    file.write_text(re.sub(r"scikit-learn==.*", "scikit-learn==0.24.1", file.read_text()))


def as_pickle(folder: Path) -> None:
    """Save the model again, as cloudpickle, which MLflow loads by running its code."""
    kept = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["sklearn"]["skops_trusted_types"]
    model = skops.io.load(folder / "model.skops", trusted=kept)
    (folder / "model.skops").write_bytes(pickle.dumps(model))
    edit(folder, lambda told: told["flavors"]["sklearn"].update(serialization_format="cloudpickle"))


def test_a_pickle_is_refused_unless_the_stack_allows_code(
    judged: Callable[..., Findings], made: Made, tmp_path: Path
) -> None:
    said = refusals(judged(as_pickle))
    assert said.startswith("version 2 is saved as cloudpickle, not in the format of skops")
    assert said.endswith("or write validation: {allow_code: true} under the training job in the stack file")
    inputs = Inputs(
        project=made.project,
        new=Candidate(2, tmp_path / "version"),
        old=made.candidate(CHAMPION),
        table=reading.load(str(made.dataset), made.project).table,
        recorded={},
        limits=LIMITS,
        allow_code=True,
    )
    assert refusals(checks.run_checks(inputs)) == ""


def damage(folder: Path) -> None:
    for file in folder.glob("model.*"):
        file.write_bytes(b"none")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("signature"), "it has no signature, so a server cannot check requests"),
        (drop("saved_input_example_info"), "it has no input example"),
        (make_older, r"scikit-learn 1\.\S+ \(trained with 0\.24\.1\); use the same packages"),
        (damage, "version 2 cannot be loaded with the packages of this image"),
    ],
)
def test_a_version_that_is_not_whole_is_refused(
    judged: Callable[..., Findings], change: Callable[[Path], object], said: str
) -> None:
    assert re.search(said, refusals(judged(change)))


def test_packages_may_differ_when_that_is_allowed(judged: Callable[..., Findings]) -> None:
    found = judged(make_older, skew="any")
    assert refusals(found) == ""
    assert any("trained with 0.24.1" in check.said for check in found.checks if check.outcome == "passed")


@pytest.mark.parametrize("few", ["slice_rows", "slice_label_rows"])
def test_a_slice_with_few_rows_or_few_of_a_label_is_shown_and_not_judged(
    judged: Callable[..., Findings], few: str
) -> None:
    found = judged(**{few: 400}, slice_least={"roc_auc": 1})
    assert [one.judged for one in found.slices] == [False, False, False]
    assert refusals(found) == ""


LENIENT: dict[str, Any] = {"certain_loss": 1, "any_loss": 1, "slice_loss": 1, "least": {}, "slice_least": {}}


@pytest.mark.parametrize(
    ("strict", "said"),
    [
        ({}, ""),
        (
            {"any_loss": 0.03},
            r"roc_auc -0\.\d+ \(.*\) against version 1 on the same 516 rows: worse by more than 0\.03",
        ),
        ({"certain_loss": 0.005}, r"roc_auc -0\.\d+ \(.*\) against .* 516 rows: certainly worse by more than 0\.005"),
        ({"slice_loss": 0.05}, r"(.*where contract is [^;]*: certainly worse by more than 0\.05(; )?)+"),
    ],
    ids=["none", "any loss", "a certain loss", "a certain loss in a slice"],
)
def test_each_limit_of_a_loss_refuses_a_worse_version_by_itself(
    judged: Callable[..., Findings], strict: dict[str, float], said: str
) -> None:
    assert re.fullmatch(said, refusals(judged(number=WORSE, **(LENIENT | strict))))


def test_a_version_whose_split_was_another_is_refused_and_a_champion_with_one_is_noted(made: Made) -> None:
    inputs = Inputs(
        project=made.project,
        new=made.candidate(ALIKE),
        old=made.candidate(CHAMPION),
        table=reading.load(str(made.dataset), made.project).table,
        recorded={CHAMPION: {"roc_auc": 0.75}, ALIKE: {"roc_auc": 0.75}},
        limits=LIMITS,
    )
    new, old = checks.run_checks(inputs).checks[-2:]
    assert re.match(
        r"roc_auc of version 2 was 0.750 at its training and is 0.8\d\d here, so the split has changed", new.said
    )
    assert (new.outcome, old.outcome) == ("refused", "noted")
    assert old.said.startswith("roc_auc of version 1 was 0.750")


def test_the_rows_held_out_are_those_that_training_held_out(registry: Registry, made: Made, tmp_path: Path) -> None:
    version = made.client.get_model_version("churn-predictor", "1")
    table = reading.load(str(registry.dataset), made.project)
    inputs = Inputs(
        project=made.project,
        new=candidate.fetch(made.client, registry.uri, version, tmp_path),
        old=None,
        table=table.table,
        recorded={1: validate.recorded(version, table.digest, ("accuracy", "f1", "roc_auc"))},
        limits=LIMITS,
    )
    last = checks.run_checks(inputs).checks[-1]
    assert (last.outcome, last.said) == ("passed", "the metrics are the same as at its training")


def test_that_a_version_may_know_rows_of_other_data_is_noted(judged: Callable[..., Findings]) -> None:
    told = [check.said for check in judged().checks if check.outcome == "noted"]
    assert told == [
        f"version {number} was trained with another dataset, and may know some of these rows: this favours it"
        for number in (2, 1)
    ]
