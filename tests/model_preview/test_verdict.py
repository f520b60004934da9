"""The gate's answers: which releases pass, which are refused in which stack, and what mends each refusal."""

from datetime import UTC, datetime, timedelta

import pytest

from contract.stages import Stage
from model_preview import preview, verdict
from model_preview.facts import Change, Facts, Model, Reference, Unverified
from model_preview.verdict import Code, Gate, Kind, Verdict
from tests.model_preview.examples import (
    IMAGE,
    MODEL,
    PROTECTED,
    UNPROTECTED,
    champion,
    facts,
    judged,
    refused,
    release,
    signature,
    version,
)

SERVED = champion(7)
NEXT = version(8)
TODAY = datetime(2026, 11, 30, tzinfo=UTC)
BREAKS = (
    "version 8 breaks clients of version 7 (column months (long, required) is added; column tenure (long) is removed)"
)
LACKS = (
    "version 8 needs packages that the serving image lacks (scikit-learn 1.8.0, the image has 1.9.1; "
    "torch 2.15.0, the image has none)"
)
DOWN = Unverified(why="MLflow at http://localhost:5000 did not respond within 5 s")


def answer(change: Change, found: Facts | Unverified | None, gate: Gate = PROTECTED) -> Verdict:
    return preview.preview(change, found, gate, IMAGE).verdict


def test_a_version_with_files_outside_the_artifact_bucket_is_refused_in_every_stack() -> None:
    gate = Gate(bucket="s3://ours", override="urgent")
    inside, outside = (
        answer(release(7, 8), facts(SERVED, NEXT.model_copy(update={"source": source})), gate)
        for source in ("s3://ours/mlflow/1/models/m-1/artifacts", "s3://ours-too/m-1")
    )
    assert not inside.fails
    assert "the files of version 8 are in s3://ours-too/m-1, and the stack's pods read only s3://ours" in outside.line
    assert outside.fails


def test_a_version_that_passed_against_the_served_champion_passes() -> None:
    found = answer(release(7, 8), facts(SERVED, NEXT))
    assert (found.line, found.kind, found.reasons) == ("churn: version 7 -> 8 passes", Kind.PASSES, ())


@pytest.mark.parametrize(
    ("found", "said", "mend"),
    [
        (
            facts(SERVED, numbers=(1, 6, 7)),
            f"{MODEL} has no version 8 (versions that exist: 1, 6, 7)",
            f"mlops models {MODEL}",
        ),
        (
            facts(SERVED, numbers=tuple(range(100, 120))),
            f"{MODEL} has no version 8 (versions that exist: 10 older ones and {', '.join(map(str, range(110, 120)))})",
            f"mlops models {MODEL}",
        ),
        (Facts(models={}, versions={}), f"the registry has no model {MODEL}", f"mlops models {MODEL}"),
        (
            Facts(models={MODEL: Model(name=MODEL)}, versions={}),
            f"{MODEL} has no version 8 (it has no version yet)",
            f"mlops models {MODEL}",
        ),
        (
            facts(SERVED, refused(8, "roc_auc is 0.51, at least 0.6", "its files take 900 MB")),
            "version 8 was refused by its validation (roc_auc is 0.51, at least 0.6; its files take 900 MB)",
            f"mlops train {MODEL}",
        ),
        (
            facts(SERVED, version(8, signature=signature(months="long", contract="string"))),
            BREAKS,
            "pulumi config set --path mlops:endpoints.churn.allow_breaking_signature '<reason>'",
        ),
        (
            facts(SERVED, version(8, validation_status="", is_of_notebook=True)),
            "a notebook trained version 8, and no validation has found the Job that reproduced it",
            f"mlops validate {MODEL} 8",
        ),
    ],
)
@pytest.mark.parametrize("gate", [PROTECTED, UNPROTECTED, Gate(mode="warn")])
def test_what_cannot_be_served_or_is_known_to_be_bad_fails_in_every_stack(
    found: Facts, said: str, mend: str, gate: Gate
) -> None:
    given = answer(release(7, 8), found, gate)
    assert (given.kind, given.fails) == (Kind.REFUSED, True)
    assert (given.reasons[0].said, given.reasons[0].mend) == (said, mend)
    assert given.line == f"churn: version 7 -> 8 is refused because {said}"


def test_a_version_of_a_notebook_that_a_job_has_reproduced_passes() -> None:
    found = facts(SERVED, version(8, is_of_notebook=True))
    assert answer(release(7, 8), found).line == "churn: version 7 -> 8 passes"


@pytest.mark.parametrize(
    ("found", "code", "said", "mend"),
    [
        (
            facts(SERVED, version(8, validation_status="", validated_against="")),
            Code.NOT_VALIDATED,
            "version 8 was not validated",
            f"mlops validate {MODEL} 8",
        ),
        (
            facts(SERVED, version(8, validation_status="running")),
            Code.NOT_VALIDATED,
            "version 8 is being validated, or its validation was killed",
            f"mlops validate {MODEL} 8",
        ),
        (
            facts(SERVED, version(8, validation_status="broken")),
            Code.NOT_VALIDATED,
            "the validation of version 8 failed before it had a result",
            f"mlops validate {MODEL} 8",
        ),
        (
            facts(SERVED, version(8, validation_status="looks good\nto me")),
            Code.NOT_VALIDATED,
            "version 8 has the validation status 'looks good\\nto me', which this platform does not write",
            f"mlops validate {MODEL} 8",
        ),
        (
            facts(SERVED, version(8, validated_against="6")),
            Code.OLDER_CHAMPION,
            "version 8 was validated against version 6, and version 7 is served now",
            f"mlops validate {MODEL} 8",
        ),
        (
            facts(SERVED, version(8, validated_against="none")),
            Code.OLDER_CHAMPION,
            "version 8 was validated alone, and version 7 is served now",
            f"mlops validate {MODEL} 8",
        ),
        (
            facts(SERVED, version(8, validated_against="")),
            Code.OLDER_CHAMPION,
            "version 8 was validated against an unknown version, and version 7 is served now",
            f"mlops validate {MODEL} 8",
        ),
        (
            facts(version(7), version(8, validated_against="none")),
            Code.OLDER_CHAMPION,
            "version 8 was validated alone, and version 7 is served now",
            f"mlops validate {MODEL} 8",
        ),
        (
            facts(SERVED, version(8, stage=Stage.ARCHIVED)),
            Code.ARCHIVED,
            "version 8 is archived",
            f"mlops promote {MODEL} 8 staging",
        ),
        (
            facts(SERVED, version(8, requirements=("numpy==2.4.1", "torch==2.15.0", "scikit-learn==1.8.0"))),
            Code.PACKAGES,
            LACKS,
            f"mlops image {MODEL} --version 8 && pulumi config set --path mlops:endpoints.churn.image auto",
        ),
        (
            facts(SERVED, version(8, requirements=None, unknown={"packages": "MLflow responded with HTTP 500"})),
            Code.PACKAGES,
            "the packages of version 8 are not known (MLflow responded with HTTP 500)",
            f"mlops train {MODEL}",
        ),
        (
            facts(
                SERVED, version(8, signature=None, unknown={"signature": "the version was logged without a signature"})
            ),
            Code.UNKNOWN_SIGNATURE,
            "the signature of version 8 is not known (the version was logged without a signature)",
            "pulumi config set --path mlops:endpoints.churn.allow_breaking_signature '<reason>'",
        ),
        (
            facts(NEXT),
            Code.UNKNOWN_SIGNATURE,
            "the signature of version 7 is not known (it no longer exists)",
            "pulumi config set --path mlops:endpoints.churn.allow_breaking_signature '<reason>'",
        ),
    ],
)
def test_what_is_a_matter_of_judgement_fails_in_a_protected_stack_and_warns_in_others(
    found: Facts, code: Code, said: str, mend: str
) -> None:
    protected, unprotected = (answer(release(7, 8), found, gate) for gate in (PROTECTED, UNPROTECTED))
    assert [(one.code, one.said, one.mend, one.fails) for one in protected.reasons] == [(code, said, mend, True)]
    assert (protected.kind, protected.line) == (Kind.REFUSED, f"churn: version 7 -> 8 is refused because {said}")
    assert protected.sentence == f"{protected.line}; {mend}"
    assert unprotected.sentence == f"{unprotected.line}; {said}: {mend}"
    assert [(one.said, one.fails) for one in unprotected.reasons] == [(said, False)]
    assert (unprotected.kind, unprotected.line) == (Kind.PASSES, "churn: version 7 -> 8 passes, with 1 warning")


def test_a_version_without_the_profile_that_a_drift_job_needs_is_one_without_a_profile() -> None:
    blind = facts(SERVED, version(8, unknown={"reference profile": "MLflow responded with HTTP 404"}))
    watched = release(7, 8).model_copy(update={"needs_profile": True})
    (reason,) = answer(watched, blind).reasons
    assert (reason.code, reason.fails, reason.mend) == (Code.NO_PROFILE, True, f"mlops train {MODEL}")
    assert "version 8 has no reference profile (MLflow responded with HTTP 404)" in reason.said
    assert answer(release(7, 8), blind).kind is Kind.PASSES
    assert answer(watched, facts(SERVED, NEXT)).kind is Kind.PASSES


def test_the_stack_file_says_otherwise() -> None:
    found = facts(SERVED, version(8, validation_status=""))
    assert answer(release(7, 8), found, Gate(protected=False, mode="fail")).fails
    assert not answer(release(7, 8), found, Gate(protected=True, mode="warn")).fails


def test_a_version_with_several_faults_is_refused_for_all_of_them() -> None:
    found = facts(SERVED, version(8, validation_status="", stage=Stage.ARCHIVED, requirements=("torch==2.15.0",)))
    given = answer(release(7, 8), found)
    assert [one.code for one in given.reasons] == [Code.NOT_VALIDATED, Code.ARCHIVED, Code.PACKAGES]
    assert given.line.endswith("is refused because version 8 was not validated, and for 2 more reasons")
    assert "\n" not in given.sentence
    assert all(one.mend in given.sentence for one in given.reasons)


def test_packages_pass_when_they_differ_by_a_patch_release_and_warn_when_the_image_is_not_known() -> None:
    found = facts(SERVED, version(8, requirements=("numpy==2.4.1",)))
    assert answer(release(7, 8), found).reasons == ()
    (reason,) = judged(release(7, 8), found, image=None).verdict.reasons
    assert reason.said == "the packages of the serving image of version 8 are not known"


@pytest.mark.parametrize(
    "found",
    [
        facts(version(1, validated_against="none")),
        facts(champion(1, validated_against="none")),
        facts(version(1, validated_against="7"), version(7), champion=7),
    ],
)
def test_a_first_version_passes_when_it_was_validated_alone_or_against_the_champion(found: Facts) -> None:
    assert answer(release(None, 1), found).line == "churn: first version 1 passes"


def test_a_staging_endpoint_takes_what_passed_against_the_champion_whatever_it_serves() -> None:
    found = facts(SERVED, version(8), version(9, validated_against="7"))
    assert answer(release(8, 9), found).kind is Kind.PASSES


def test_the_champion_passes_whomever_it_was_compared_with_before() -> None:
    found = facts(version(5, was_champion=True), champion(8, validated_against="6"))
    assert answer(release(5, 8), found).line == "churn: version 5 -> 8 passes"


def test_a_champion_alias_that_points_nowhere_counts_as_no_champion() -> None:
    found = facts(version(1, validated_against="none"), champion=6)
    given = judged(release(None, 1), found)
    assert given.verdict.kind is Kind.PASSES
    assert given.diff
    assert given.diff.notes == ("The alias @champion points to version 6, which does not exist.",)


@pytest.mark.parametrize("days", [0, 9])
@pytest.mark.parametrize("status", ["passed", "running", ""])
def test_a_return_to_a_former_champion_is_a_rollback_and_passes(status: str, days: int) -> None:
    former = version(
        7, was_champion=True, promoted_at=TODAY - timedelta(days), stage=Stage.ARCHIVED, validation_status=status
    )
    found = answer(release(8, 7), facts(former, champion(8, promoted_at=TODAY)))
    assert (found.line, found.kind) == ("churn: version 8 -> 7 is a rollback to a former champion", Kind.ROLLBACK)
    assert found.reasons == ()


def test_after_a_rollback_in_the_registry_the_return_is_one_and_the_next_version_is_not() -> None:
    bad = version(8, was_champion=True, promoted_at=TODAY - timedelta(days=1), stage=Stage.ARCHIVED, rolled_back=True)
    good = champion(7, promoted_at=TODAY, restored=True)
    assert answer(release(8, 7), facts(bad, good)).kind is Kind.ROLLBACK
    again = answer(release(7, 8), facts(bad, good))
    assert [one.code for one in again.reasons] == [Code.ARCHIVED]
    assert again.fails


def test_a_former_champion_that_a_validation_refused_since_is_refused() -> None:
    former = refused(7, "roc_auc fell").model_copy(update={"was_champion": True})
    assert answer(release(8, 7), facts(former, champion(8))).kind is Kind.REFUSED


def test_what_the_stack_released_before_passes_without_mlflow() -> None:
    gate = Gate(protected=True, released=(Reference(model=MODEL, version=7, digest="sha256:" + "7" * 64),))
    for digest in ("", "7" * 64, "sha256:" + "7" * 64):
        change = release(8, 7, digest)
        assert not verdict.needs_facts(change, gate)
        found = answer(change, None, gate)
        assert found.line == "churn: version 8 -> 7 is a rollback to a version that this stack has released before"
        assert (found.kind, found.fails) == (Kind.ROLLBACK, False)
    assert verdict.needs_facts(release(8, 7, "1" * 64), gate)
    assert verdict.needs_facts(release(7, 6), gate)


def test_a_renamed_endpoint_goes_on_with_the_version_that_the_stack_released() -> None:
    """A rename is the removal of one endpoint and the first version of another."""
    gate = Gate(protected=True, released=(Reference(model=MODEL, version=7, digest="7" * 64),))
    for change in (release(7, None), release(None, 7)):
        assert not verdict.needs_facts(change, gate)
        assert answer(change, None, gate).kind is Kind.PASSES


def test_an_override_of_another_version_does_not_block_a_release_made_before() -> None:
    gate = Gate(
        protected=True,
        override="outage",
        served_override="outage",
        released=(Reference(model=MODEL, version=7, digest="7" * 64),),
    )
    assert not answer(release(8, 7), None, gate).fails


@pytest.mark.parametrize("change", [release(7, 7), release(7, None)])
def test_a_change_that_releases_no_version_is_never_gated(change: Change) -> None:
    assert not verdict.needs_facts(change, PROTECTED)
    assert answer(change, None).kind is Kind.PASSES


def test_the_same_number_of_another_model_is_a_release() -> None:
    old, new = Reference(model="churn-trees", version=7), Reference(model=MODEL, version=7)
    change = Change(endpoint="churn", old=old, new=new)
    assert verdict.needs_facts(change, PROTECTED)
    found = facts(champion(7)), Model(name="churn-trees")
    both = Facts(
        models={**found[0].models, "churn-trees": found[1]},
        versions={**found[0].versions, ("churn-trees", 7): version(7, model="churn-trees")},
    )
    given = judged(change, both)
    assert given.verdict.line == f"churn: churn-trees 7 -> {MODEL} 7 passes"
    assert given.diff
    assert given.diff.notes == (f"The endpoint changes its model from churn-trees to {MODEL}.",)


def test_a_digest_that_is_not_the_versions_fails_in_every_stack() -> None:
    found = answer(release(7, 8, "sha256:" + "0" * 64), facts(SERVED, NEXT), UNPROTECTED)
    assert found.line == (
        "churn: version 7 -> 8 is refused because version 8 has the digest 888888888888, "
        "and the stack file says 000000000000"
    )
    assert answer(release(7, 8, "sha256:" + "8" * 64), facts(SERVED, NEXT)).kind is Kind.PASSES


@pytest.mark.parametrize(
    ("role", "name", "mend"),
    [
        ("", "churn", "set --path mlops:endpoints.churn.allow_breaking_signature '<reason>'"),
        ("challenger", "churn-challenger", "rm --path mlops:endpoints.churn.challenger"),
        ("batch", "nightly-batch", "set --path mlops:batch.nightly-batch.allow_breaking_signature '<reason>'"),
    ],
)
def test_the_remedy_names_the_entry_of_the_stack_file(role: str, name: str, mend: str) -> None:
    change = release(7, 8).model_copy(update={"endpoint": name, "role": role})
    (reason,) = answer(change, facts(SERVED, version(8, signature=signature(months="long")))).reasons
    assert reason.mend == f"pulumi config {mend}"


def test_a_reason_in_the_entry_lets_clients_break() -> None:
    found = facts(SERVED, version(8, signature=signature(months="long")))
    gate = Gate(protected=True, allow_breaking_signature="all clients were told")
    assert answer(release(7, 8), found, gate).line == "churn: version 7 -> 8 passes"


def test_an_override_lets_a_version_through_and_the_line_says_so() -> None:
    found = facts(SERVED, refused(8, "roc_auc fell"))
    given = answer(release(7, 8), found, Gate(protected=True, override="fraud wave,\nticket 12"))
    assert (given.kind, given.fails) == (Kind.PASSES, False)
    assert given.line == (
        "churn: version 7 -> 8 passes by override (fraud wave, ticket 12), although version 8 was refused by its "
        "validation (roc_auc fell)"
    )


def test_an_override_makes_no_version_out_of_nothing() -> None:
    assert answer(release(7, 8), facts(SERVED, numbers=(7,)), Gate(override="outage")).fails


def test_an_override_is_refused_once_the_version_changes() -> None:
    gate = Gate(override="outage", served_override="outage")
    given = answer(release(7, 8), facts(SERVED, NEXT), gate)
    assert given.line == "churn: version 7 -> 8 is refused because its override (outage) was written for version 7"
    assert given.reasons[0].mend == "pulumi config rm --path mlops:endpoints.churn.override"
    assert not answer(release(7, 8), facts(SERVED, NEXT), gate.model_copy(update={"override": "another"})).fails


@pytest.mark.parametrize(("gate", "fails"), [(PROTECTED, True), (UNPROTECTED, False)])
def test_without_mlflow_a_release_could_not_be_verified(gate: Gate, *, fails: bool) -> None:
    found = answer(release(7, 8), DOWN, gate)
    assert (found.kind, found.fails) == (Kind.UNVERIFIED, fails)
    assert found.line == f"churn: version 7 -> 8 could not be verified because {DOWN.why}"
    assert str(DOWN) == f"could not be verified: {DOWN.why}"


def test_without_mlflow_an_override_lets_a_version_through() -> None:
    found = answer(release(7, 8), DOWN, Gate(protected=True, override="outage"))
    assert not found.fails
    assert "passes by override (outage), although MLflow" in found.line


def test_three_endpoints_are_judged_each_by_itself() -> None:
    found = facts(SERVED, NEXT, version(9, validation_status=""))
    lines = [answer(release(7, number), found).kind for number in (8, 9, 10)]
    assert lines == [Kind.PASSES, Kind.REFUSED, Kind.REFUSED]
