"""Which report proves the result of a validation."""

import pytest

from contract import evidence

SOURCE = "s3://store/mlflow/1/models/m-2/artifacts"
OWN = "s3://store/validations/"


@pytest.mark.parametrize("folder", [f"{OWN}r/artifacts", f"{OWN}r"])
def test_a_report_counts_where_validations_alone_write(folder: str) -> None:
    assert not evidence.fault_of_place(folder, SOURCE)


@pytest.mark.parametrize(
    "folder",
    [
        "",
        "s3://store/mlflow/1/r/artifacts",
        "s3://other/validations/r/artifacts",
        "s3://store/validations",
        "s3://store/validations-of-mine/r",
        f"{OWN}../mlflow/1/r/artifacts",
        f"{OWN}r/../../mlflow/1/r",
        f"{OWN}/r",
        "file:///validations/r",
    ],
)
def test_a_report_that_others_can_write_does_not_count(folder: str) -> None:
    assert f"validations alone write only in {OWN}" in evidence.fault_of_place(folder, SOURCE)


@pytest.mark.parametrize(
    ("reported", "said"),
    [
        (("churn", 2, "a"), ""),
        (("churn", 1, "a"), "the report is about churn version 1"),
        (("other", 2, "a"), "the report is about other version 2"),
        (("churn", 2, "b"), "the report is about files with the digest b, not a"),
        (("churn", 2, ""), "the report is about files with the digest unknown, not a"),
    ],
)
def test_a_report_is_about_one_version_and_its_files(reported: tuple[str, int, str], said: str) -> None:
    assert evidence.fault_of_content(reported, "churn", 2, "a") == said


def test_a_version_without_a_digest_is_proven_by_no_report() -> None:
    assert "not unknown" in evidence.fault_of_content(("churn", 2, ""), "churn", 2, "")


@pytest.mark.parametrize(
    ("status", "source", "needed"),
    [("passed", SOURCE, True), ("passed", "", True), ("refused", SOURCE, False), ("passed", "/mlruns/1", False)],
)
def test_only_a_passed_version_in_the_store_needs_a_report(status: str, source: str, needed: bool) -> None:
    assert evidence.is_needed(status, source) is needed
