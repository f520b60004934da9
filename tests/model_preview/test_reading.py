"""Facts from a real MLflow server: whole ones, missing ones, and a server that is down, slow, broken or none."""

import itertools
import json
import os
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
import pytest

from contract.stages import Stage
from model_preview import preview
from model_preview.facts import Column
from model_preview.verdict import Code, Gate, Kind
from tests.model_preview.conftest import MODEL, NEXT, SERVED, Lab, change
from tests.model_preview.server import says, server
from training.registry import client as versions

pytestmark = pytest.mark.long

NAMES = (f"read-{number}-{os.getpid()}" for number in itertools.count())
NO_REPORT = {"validation report": "the version has no tag validation_report"}
CHANGE = change(MODEL, SERVED, NEXT)


def test_a_version_is_known_by_its_run_its_files_and_its_validation(lab: Lab) -> None:
    found = lab.facts(CHANGE)
    old, new = (found.versions[MODEL, number] for number in (SERVED, NEXT))
    assert (new.author, new.commit, new.rows, new.training_job) == ("ada", "3f2a9c1", 400, "churn")
    assert new.parameters == {"n_estimators": "5", "max_depth": "4"}
    assert set(new.metrics) == {"accuracy", "f1", "roc_auc"}
    assert new.signature
    assert Column(name="tenure", kind="long") in new.signature.inputs
    assert new.requirements
    assert {line.split("==")[0] for line in new.requirements} >= {"numpy", "scikit-learn", "skops"}
    assert (new.validation_status, new.validated_against) == ("passed", str(SERVED))
    assert new.report
    assert new.report.scores
    assert {"roc_auc"} <= set(new.report.scores.difference)
    assert new.digest
    assert new.size_mb
    assert new.latency_ms
    assert (old.stage, old.aliases, old.was_champion) == (Stage.PRODUCTION, ("champion",), True)
    assert old.promoted_at
    assert (old.unknown, new.unknown) == ({}, {})


def test_the_profile_of_a_training_is_looked_for_if_an_endpoint_needs_it(lab: Lab) -> None:
    watched = CHANGE.model_copy(update={"needs_profile": True})
    assert "reference profile" not in lab.facts(watched).versions[MODEL, NEXT].unknown
    model = next(NAMES)
    next_model_folder(lab, model)
    blind = change(model, None, 1).model_copy(update={"needs_profile": True})
    assert "reference_profile.json" in lab.facts(blind).versions[model, 1].unknown["reference profile"]


def test_the_next_version_passes_with_the_interval_against_the_champion_and_the_return_is_a_rollback(
    lab: Lab,
) -> None:
    model = next(NAMES)
    lab.register(model, 1)
    lab.register(model, 2)
    lab.validate(model, 1)
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        lab.promote(model, 1, stage)
    lab.validate(model, 2)
    forward = change(model, 1, 2)
    found = preview.preview(forward, lab.facts(forward), Gate(protected=True), {})
    assert found.diff
    assert found.diff.measured.against == 1
    assert [one.code for one in found.verdict.reasons] == [Code.PACKAGES]  # of an image without packages
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        lab.promote(model, 2, stage)
    back = change(model, 2, 1)
    gate = Gate(protected=True, mode="warn")
    assert preview.preview(back, lab.facts(back), gate).verdict.kind is Kind.ROLLBACK
    lab.promote(model, None)  # the champion before is the champion again
    assert preview.preview(back, lab.facts(back), gate).verdict.kind is Kind.ROLLBACK
    again = preview.preview(forward, lab.facts(forward), gate).verdict
    assert Code.ARCHIVED in [one.code for one in again.reasons]


def test_a_version_that_does_not_exist_is_absent_and_those_that_do_are_named(lab: Lab) -> None:
    found = lab.facts(change(MODEL, SERVED, 99), change("no-such-model", 1, 2, endpoint="other"))
    assert set(found.versions) == {(MODEL, SERVED)}
    assert set(found.models) == {MODEL}
    assert found.models[MODEL].numbers == (SERVED, NEXT)


def test_three_endpoints_are_asked_for_at_once(lab: Lab) -> None:
    other = next(NAMES)
    lab.register(other, 1)
    found = lab.facts(
        CHANGE, change(MODEL, NEXT, SERVED, endpoint="churn-staging"), change(other, None, 1, endpoint="other")
    )
    assert set(found.versions) == {(MODEL, SERVED), (MODEL, NEXT), (other, 1)}


def test_a_deleted_version_and_a_deleted_model_are_as_if_they_had_never_been(lab: Lab) -> None:
    model = next(NAMES)
    for _ in range(2):
        lab.register(model, 1)
    lab.client.delete_model_version(model, "2")
    found = lab.facts(change(model, 1, 2))
    assert (list(found.versions), found.models[model].numbers) == ([(model, 1)], (1,))
    lab.client.delete_registered_model(model)
    assert lab.facts(change(model, 1, 2)).models == {}


def test_a_run_that_was_deleted_is_reported_and_without_it_the_facts_of_the_version_stay(lab: Lab) -> None:
    model = next(NAMES)
    lab.register(model, 1)
    run = lab.client.get_model_version(model, "1").run_id or ""
    lab.client.delete_run(run)
    found = lab.version(model, 1)
    assert found.unknown["run"] == f"run {run} was deleted; its facts are shown until MLflow removes them"
    assert found.rows == 400
    gone = next(NAMES)
    lab.client.create_registered_model(gone)
    tags = lab.client.get_model_version(model, "1").tags
    source = lab.client.get_model_version(model, "1").source or ""
    lab.client.create_model_version(gone, source, "0" * 32, tags=tags)
    found = lab.version(gone, 1)
    assert found.unknown["run"] == f"MLflow no longer has run {'0' * 32}"
    assert (found.rows, found.author, found.commit) == (None, None, "3f2a9c1")
    assert set(found.metrics) == {"accuracy", "f1", "roc_auc"}
    assert found.signature


def test_a_metric_that_is_no_number_is_unknown(lab: Lab) -> None:
    model = next(NAMES)
    lab.register(model, 1)
    run = lab.client.get_model_version(model, "1").run_id or ""
    for name, value in (("f1", float("nan")), ("accuracy", float("inf"))):
        lab.client.log_metric(run, name, value)
    found = lab.version(model, 1)
    assert set(found.metrics) == {"roc_auc"}
    assert found.unknown == dict.fromkeys(("f1", "accuracy"), "the run recorded no finite number") | NO_REPORT
    json.loads(found.model_dump_json(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("place", "content", "said"),
    [
        ("validation/against-1/report.html", None, "for validation/against-1/report.json"),
        ("../../etc/passwd", None, "HTTP 400"),
        ("validation/x/report.html", "{", "is not a validation report"),
        ("validation/x/report.html", '{"model": "another", "version": 7}', "the report is about another version 7"),
        ("", None, "the version has no tag validation_report"),
    ],
)
def test_a_validation_report_that_is_missing_or_foreign_is_unknown(
    lab: Lab, tmp_path: Path, place: str, content: str | None, said: str
) -> None:
    model = next(NAMES)
    lab.register(model, 1, {"validation_status": "passed"} | ({"validation_report": place} if place else {}))
    if content is not None:
        (tmp_path / "report.json").write_text(content)
        run = lab.client.get_model_version(model, "1").run_id or ""
        versions.connect(lab.store).log_artifact(run, str(tmp_path / "report.json"), "validation/x")
    found = lab.version(model, 1)
    assert (found.report, found.latency_ms, found.validation_status) == (None, None, "passed")
    assert said in found.unknown["validation report"]


def test_a_report_is_read_from_the_run_of_its_validation(lab: Lab) -> None:
    tags = lab.client.get_model_version(MODEL, str(NEXT)).tags
    assert tags["validation_run"] != lab.client.get_model_version(MODEL, str(NEXT)).run_id
    assert lab.version(MODEL, NEXT).report


def test_files_that_are_gone_leave_signature_and_packages_unknown(lab: Lab) -> None:
    model = next(NAMES)
    source = next_model_folder(lab, model)
    shutil.rmtree(source)
    found = lab.version(model, 1)
    assert (found.signature, found.requirements) == (None, None)
    assert set(found.unknown) >= {"signature", "packages"}
    assert "MLmodel" in found.unknown["signature"]
    judged = preview.preview(change(model, None, 1), lab.facts(change(model, None, 1)), Gate(protected=True))
    assert Code.PACKAGES in [one.code for one in judged.verdict.reasons]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "is not readable"),
        ("- a list", "is not readable"),
        ("[" * 5000, "is not readable"),
        ("a: 2026-99-99", "is not readable"),
        (f"signature: {{inputs: '{'[' * 5000}'}}", "the signature in the file MLmodel cannot be read"),
        ("flavors: {}", "the version was logged without a signature"),
        ("signature: {inputs: 'nonsense'}", "the signature in the file MLmodel cannot be read"),
        ('signature: {inputs: \'[{"name": "a"}]\'}', "the signature in the file MLmodel cannot be read"),
        ("signature: {inputs: '{\"a\": 1}'}", "the signature in the file MLmodel cannot be read"),
    ],
)
def test_a_foreign_model_file_has_an_unknown_signature(lab: Lab, content: str, said: str) -> None:
    model = next(NAMES)
    (next_model_folder(lab, model) / "MLmodel").write_text(content)
    found = lab.version(model, 1)
    assert found.signature is None
    assert said in found.unknown["signature"]


def next_model_folder(lab: Lab, model: str) -> Path:
    """A version of the model, whose files are its own."""
    client = lab.client
    experiment = client.get_experiment("0")
    run = client.create_run(experiment.experiment_id)
    folder = Path(url2pathname(urlsplit(run.info.artifact_uri or "").path)) / "model"
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    client.create_registered_model(model)
    client.create_model_version(model, str(folder), run.info.run_id)
    return folder


def test_a_tensors_signature_is_read(lab: Lab) -> None:
    model = next(NAMES)
    spec = '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]'
    (next_model_folder(lab, model) / "MLmodel").write_text(f"signature: {{inputs: '{spec}', outputs: null}}")
    found = lab.version(model, 1).signature
    assert found
    assert found.inputs == (Column(name="#0", kind="float64 [-1, 4]"),)
    assert found.outputs == ()


def test_foreign_tags_are_no_facts_of_ours_and_break_nothing(lab: Lab) -> None:
    model = next(NAMES)
    strange = {
        "validation_status": "great",
        "validated_at": "yesterday",
        "validated_against": "the old one",
        "promoted_to_production": "[1, 2]",
        "archived": "yes",
        "db_password": "hunter2",
    }
    lab.register(model, 1, strange)
    found = lab.version(model, 1)
    assert (found.validation_status, found.validated_at, found.validated_against) == ("great", None, "the old one")
    assert (found.promoted_at, found.restored, found.stage) == (None, False, Stage.ARCHIVED)
    assert "hunter2" not in found.model_dump_json()


def test_a_champion_alias_that_points_nowhere_is_named(lab: Lab) -> None:
    """MLflow takes the alias off with the version; a registry that was restored in part may hold it still."""
    facts = lab.facts(CHANGE)
    body = json.dumps({"registered_model": {"name": MODEL, "aliases": [{"alias": "champion", "version": "77"}]}})

    def passes_on(request: BaseHTTPRequestHandler) -> None:
        if "registered-models/get" in request.path:
            says(200, body)(request)
            return
        behind = httpx.get(f"{lab.uri}{request.path}")
        says(behind.status_code, behind.text)(request)

    with server(passes_on) as uri:
        found = Lab(uri, lab.store).facts(CHANGE)
    assert found.models[MODEL].dangling == ("champion",)
    assert facts.models[MODEL].dangling == ()


def test_nothing_but_get_requests_reach_the_server(lab: Lab) -> None:
    """Whatever else is asked, this server answers 501."""
    asked: list[str] = []

    def passes_on(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.command)
        behind = httpx.get(f"{lab.uri}{request.path}")
        says(behind.status_code, behind.text)(request)

    with server(passes_on) as uri:
        found = Lab(uri, lab.store).facts(CHANGE)
    assert (len(found.versions), set(asked)) == (2, {"GET"})
