"""Registry whose tags and files are made to stop the preview: each leaves a fact unknown, and none stops it."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from model_preview import reading
from model_preview.facts import Change, Facts, Reference
from model_preview.preview import preview
from model_preview.verdict import Gate, Verdict

CHANGE = Change(endpoint="churn", old=Reference(model="churn", version=1), new=Reference(model="churn", version=2))
LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(12)]
    + ["signature: {inputs: *a12}"]
)


DIGEST = "a" * 64
PASSED = {"validation_status": "passed", "validated_against": "1", "model_digest": DIGEST, "validation_report": "r"}
REPORT = {"model": "churn", "version": 2, "champion": 1, "status": "passed", "model_digest": DIGEST}
OWN = "s3://bucket/validations/r/artifacts"


def verdict(
    tags: dict[str, str] | None = None,
    mlmodel: str = "",
    source: str = "s3://bucket/2",
    *,
    report: dict[str, Any] | None = None,
    folder: str = OWN,
) -> tuple[Facts, Verdict]:
    """Return the facts and the decision about version 2.

    It has these tags, this file MLmodel, this source, and this report in a run whose artifacts are in the folder.
    """

    def responds(request: httpx.Request) -> httpx.Response:
        asked, path = request.url.params, request.url.path
        if path.endswith("registered-models/get"):
            return httpx.Response(200, json={"registered_model": {"aliases": []}})
        if path.endswith("model-versions/get"):
            listed = [{"key": key, "value": value} for key, value in (tags or {}).items()]
            one: dict[str, Any] = {"version": asked["version"], "run_id": "r", "tags": listed}
            return httpx.Response(200, json={"model_version": one})
        if path.endswith("get-download-uri"):
            return httpx.Response(200 if source else 500, json={"artifact_uri": source})
        if path.endswith("runs/get"):
            return httpx.Response(200, json={"run": {"info": {"artifact_uri": folder}}})
        if report and path.endswith("/get-artifact") and "run_id" in asked:
            return httpx.Response(200, json=report)
        return httpx.Response(200, text=mlmodel if asked["path"] == "MLmodel" else "")

    async def facts() -> object:
        async with httpx.AsyncClient(base_url="http://mlflow", transport=httpx.MockTransport(responds)) as http:
            return await reading.read_with(http, [CHANGE], seconds=60)

    found = asyncio.run(facts())
    assert isinstance(found, Facts)
    return found, preview(CHANGE, found, Gate(protected=True), {}).verdict


@pytest.mark.parametrize("key", ["promoted_to_production", "archived"])
def test_a_record_that_is_nested_too_deeply_is_no_record(key: str) -> None:
    found, decided = verdict({key: "[" * 5000})
    assert found.versions["churn", 2].promoted_at is None
    assert decided.fails


def test_a_champion_with_thousands_of_digits_is_an_unknown_one() -> None:
    _, decided = verdict({"validation_status": "passed", "validated_against": "1" * 5000}, source="/models/2")
    assert "older_champion" in {one.code for one in decided.reasons}
    assert all(len(one.said) < 500 for one in decided.reasons)


@pytest.mark.parametrize(
    ("mlmodel", "why"),
    [
        (LAUGHS, "the signature in the file MLmodel cannot be read"),
        (f"model_size_bytes: 1{'0' * 400}", "the file MLmodel is not readable"),
        (json.dumps({"more": "x" * 1_000_000}), "the file MLmodel is larger than 1 MB"),
    ],
)
def test_a_file_that_would_take_all_memory_or_time_leaves_the_signature_unknown(mlmodel: str, why: str) -> None:
    found, decided = verdict(mlmodel=mlmodel)
    assert found.versions["churn", 2].unknown["signature"] == why
    assert decided.fails


def test_a_version_without_a_source_is_judged_all_the_same() -> None:
    found, decided = verdict({"validation_status": "refused"}, source="")
    assert found.versions["churn", 2].source is None
    assert "was refused by its validation" in decided.line


def test_a_report_that_only_a_validation_can_have_written_proves_the_result() -> None:
    found, decided = verdict(PASSED | {"validated_against": "7"}, report=REPORT)
    version = found.versions["churn", 2]
    assert (version.validation_status, version.validated_against) == ("passed", "1")  # the tag names another champion
    assert "not_validated" not in {one.code for one in decided.reasons}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"report": None}, "the file report.json of run r is not a validation report"),
        ({"folder": "s3://bucket/mlflow/1/r/artifacts"}, "its report is in s3://bucket/mlflow/1/r/artifacts"),
        ({"folder": f"{OWN}/../../../mlflow"}, "validations alone write only in s3://bucket/validations/"),
        ({"report": REPORT | {"version": 1}}, "the report is about churn version 1"),
        ({"report": REPORT | {"model_digest": "b" * 64}}, "the report is about files with the digest bbbb"),
        ({"tags": {"validation_status": "passed", "model_digest": DIGEST}}, "the version has no tag validation_report"),
    ],
)
def test_a_forged_result_of_a_validation_is_not_believed(change: dict[str, Any], why: str) -> None:
    given: dict[str, Any] = {"tags": PASSED, "report": REPORT, **change}
    found, decided = verdict(given.pop("tags"), **given)
    assert found.versions["churn", 2].validation_status == "unproven"
    assert decided.fails
    (reason,) = [one for one in decided.reasons if one.code == "not_validated"]
    assert reason.said.startswith("a tag says that version 2 passed its validation, and nothing proves it: ")
    assert why in reason.said
    assert reason.mend == "mlops validate churn 2"


def test_a_report_with_a_refusal_refuses_a_version_whose_tag_says_passed() -> None:
    found, decided = verdict(PASSED, report=REPORT | {"status": "refused"})
    assert found.versions["churn", 2].validation_status == "refused"
    assert decided.fails
