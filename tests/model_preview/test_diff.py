"""Changes of a release in the model: metrics on the same rows, slices, signature, packages, parameters."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from model_preview import packages, signatures
from model_preview.facts import Column, Limits, Scores, Signature, Slice
from model_preview.packages import Fit
from model_preview.preview import sections
from model_preview.signatures import SignatureChange
from tests.model_preview.examples import champion, compared, estimate, report, scores, signature, slices, version
from training.validation import signatures as judged

ROOT = Path(__file__).parents[2]
KINDS = ("integer", "long", "float", "double", "string", "boolean")


def test_metrics_come_with_the_paired_interval_of_the_validation() -> None:
    measured = compared(champion(7), version(8, report=report(8, 7), metrics={"roc_auc": 0.8, "cost": 2.0})).measured
    assert (measured.against, measured.rows) == (7, 1409)
    assert measured.said == "Both versions were measured on the same 1,409 rows; intervals are paired, 95 %."
    first, *others = measured.metrics
    assert (first.name, first.old, first.new, first.compared) == ("roc_auc", 0.84, 0.85, True)
    assert first.difference
    assert first.difference.signed == "+0.010 (+0.000 to +0.020)"
    assert [(one.name, one.difference is None) for one in others] == [("f1", False), ("cost", True)]


def test_a_comparison_with_another_version_than_the_served_one_is_not_taken_for_one_with_it() -> None:
    measured = compared(champion(7, metrics={"roc_auc": 0.82}), version(8, report=report(8, 6))).measured
    assert measured.said.startswith("The validation compared version 8 with version 6, not with version 7, which is")
    assert (measured.against, measured.metrics[0].old, measured.metrics[0].new) == (6, 0.82, 0.85)


def test_the_notes_name_the_endpoint_that_a_validation_tested() -> None:
    said = "http://churn-staging.ml-serving serves this version and was tested"
    tested = report(8, 7, checks=[{"name": "endpoint under test", "outcome": "noted", "said": said}])
    assert f"Validation: {said}." in compared(champion(7), version(8, report=tested)).notes


def test_a_metric_of_a_project_that_is_better_when_smaller_falls_when_the_version_is_better() -> None:
    own = {"loss": estimate(1.8), "roc_auc": estimate(0.85)}
    other, difference = {"loss": estimate(2.0)}, {"loss": estimate(0.2, 0.1)}
    both = Scores(rows=500, own=own, other=other, difference=difference, smaller=("loss", "mae", "rmse"))
    new = version(8, smaller=("loss",), report=report(8, 7, scores=both, limits=Limits(compared=("loss",))))
    (quality,) = [one for one in sections(compared(champion(7), new)) if one.title == "Metrics"]
    row = next(iter(quality.rows))
    assert list(row) == ["loss (smaller is better) *", "2.000", "1.800", "-0.200 (-0.300 to -0.100)"]


def test_a_rollback_shows_the_comparison_from_the_other_side() -> None:
    slow = slices(monthly=0.05, yearly=-0.02)
    former = version(7, report=report(7, 6))
    measured = compared(version(8, report=report(8, 7, slices=slow)), former).measured
    first = measured.metrics[0]
    assert (measured.against, first.old, first.new) == (8, 0.85, 0.84)
    assert first.difference
    assert first.difference.signed == "-0.010 (-0.020 to +0.000)"
    assert measured.worst
    assert (measured.worst.name, measured.worst.old) == ("contract is yearly", pytest.approx(0.82))


@pytest.mark.parametrize(
    ("digest", "word"), [("a", "the same dataset"), ("b", "datasets that differ or are not known")]
)
def test_without_a_comparison_each_value_is_marked_as_from_its_own_training(digest: str, word: str) -> None:
    old = champion(7, metrics={"roc_auc": 0.8}, dataset_digest="a")
    measured = compared(old, version(8, metrics={"roc_auc": 0.9}, dataset_digest=digest)).measured
    assert measured.said.endswith(f"each value is from the version's own training, on {word}.")
    assert (measured.against, measured.metrics[0].difference) == (None, None)


def test_a_first_version_is_measured_alone() -> None:
    measured = compared(None, version(1, report=report(1, None))).measured
    assert measured.said == "Version 1 was measured alone."
    assert compared(None, version(1)).measured.said == "No validation measured it."


def test_the_worst_slice_is_the_one_that_loses_most_among_those_with_enough_rows() -> None:
    few = Slice(name="contract is daily", scores=scores(0.2, 0.8, 12), judged=False)
    found = report(8, 7, slices=(*slices(monthly=0.05, yearly=-0.01), few))
    measured = compared(champion(7), version(8, report=found)).measured
    assert measured.worst
    assert measured.worst.name == "contract is monthly"
    assert [one.name for one in measured.slices if one.is_certainly_worse] == [
        "contract is monthly",
        "contract is daily",
    ]


def test_without_a_champion_the_worst_slice_is_the_one_with_the_lowest_metric() -> None:
    found = tuple(Slice(name=name, scores=scores(value)) for name, value in (("a", 0.9), ("b", 0.6), ("c", 0.8)))
    worst = compared(None, version(1, report=report(1, None, slices=found))).measured.worst
    assert worst
    assert worst.name == "b"


def test_a_metric_that_is_no_number_is_the_worst_of_nothing() -> None:
    told = scores(0.8, 0.8, 200).model_dump() | {"difference": {"roc_auc": {"value": "NaN"}}}
    found = Slice.model_validate({"name": "a", "scores": told})
    assert found.scores.difference["roc_auc"].signed == "unknown"
    assert compared(champion(7), version(8, report=report(8, 7, slices=(found,)))).measured.worst is None


def test_changed_parameters_are_listed_and_equal_ones_are_not() -> None:
    old = champion(7, parameters={"trees": "100", "depth": "5", "gone": "1"})
    found = compared(old, version(8, parameters={"trees": "200", "depth": "5", "added": "x"})).parameters
    assert [(one.name, one.old, one.new) for one in found] == [
        ("added", None, "x"),
        ("gone", "1", None),
        ("trees", "100", "200"),
    ]


@pytest.mark.parametrize(
    ("after", "breaking", "harmless"),
    [
        (signature(a="long", b="string"), (), ()),
        (signature(a="long"), ("column b (string) is removed",), ()),
        (signature(a="long", b="string", c="long"), ("column c (long, required) is added",), ()),
        (signature(a="long", b="string", c="?long"), (), ("column c (long, optional) is added",)),
        (signature(a="double", b="string"), (), ("column a changes its type from long to double",)),
        (signature(a="integer", b="string"), ("column a changes its type from long to integer",), ()),
        (signature(a="long", b="?string"), (), ("column b becomes optional",)),
    ],
)
def test_a_signature_is_compared_in_words(
    after: Signature, breaking: tuple[str, ...], harmless: tuple[str, ...]
) -> None:
    found = signatures.compare(signature(a="long", b="string"), after)
    assert found == SignatureChange(breaking=breaking, harmless=harmless)


def test_another_answer_breaks_clients() -> None:
    before = signature(a="long")
    after = before.model_copy(update={"outputs": (Column(name="churn", kind="long"),)})
    assert signatures.compare(before, after).breaking == ("the response changes from string to churn (long)",)


columns = some.dictionaries(
    some.sampled_from("abc"), some.tuples(some.sampled_from(KINDS), some.booleans()), min_size=1
)


@given(old=columns, new=columns)
def test_a_preview_and_a_validation_agree_on_what_breaks_clients(
    old: Mapping[str, tuple[str, bool]], new: Mapping[str, tuple[str, bool]]
) -> None:
    mine = signatures.compare(*(_preview_signature(one) for one in (old, new)))
    assert bool(mine.breaking) == bool(judged.breaking_changes(*(_mlflow_signature(one) for one in (old, new))))


def _preview_signature(told: Mapping[str, tuple[str, bool]]) -> Signature:
    found = (Column(name=name, kind=kind, required=required) for name, (kind, required) in told.items())
    return Signature(inputs=tuple(found), outputs=())


def _mlflow_signature(told: Mapping[str, tuple[str, bool]]) -> ModelSignature:
    return ModelSignature(Schema([ColSpec(kind, name, required=need) for name, (kind, need) in told.items()]))


def test_packages_are_marked_where_they_change_and_where_the_serving_image_has_another() -> None:
    old = champion(7, requirements=("numpy==2.4.6", "Scikit_Learn==1.9.1", "pandas==3.0.0", "scipy==1.17.1"))
    new = version(
        8,
        requirements=(
            "# a comment",
            "--index-url https://example.com",
            "numpy==2.4.1",
            "scikit-learn==1.8.0",
            "scipy>=1.10",
            "torch==2.15.0",
            'pywin32==1 ; sys_platform == "win32"',
        ),
    )
    found = {one.name: one for one in compared(old, new).packages}
    assert [(name, one.fit) for name, one in found.items() if one.is_worth_showing] == [
        ("numpy", Fit.PATCH),
        ("pandas", Fit.SAME),
        ("scikit-learn", Fit.OTHER),
        ("scipy", Fit.SAME),
        ("torch", Fit.MISSING),
    ]
    assert (found["scikit-learn"].old, found["scikit-learn"].new, found["scikit-learn"].image) == (
        "1.9.1",
        "1.8.0",
        "1.9.1",
    )
    assert (found["pandas"].new, found["scipy"].new) == ("", ">=1.10")


def test_what_neither_changes_nor_differs_from_the_image_is_not_worth_showing() -> None:
    assert not [one for one in compared(champion(7), version(8)).packages if one.is_worth_showing]
    assert {one.fit for one in compared(champion(7), version(8), image=None).packages} == {Fit.UNKNOWN}


def test_the_lock_says_which_packages_the_serving_image_has() -> None:
    """The result equals a walk from the image's list through the requirements of the installed packages."""
    excluded = packages.listed((ROOT / "model_server/excluded.in").read_text())
    found = packages.image_packages((ROOT / "requirements.lock").read_text(), excluded)
    wanted = [Requirement(line) for line in packages.listed((ROOT / "model_server/requirements.in").read_text())]
    expected = dict[str, str]()
    while wanted:
        one = wanted.pop()
        name = canonicalize_name(one.name)
        if name in expected or name in excluded:
            continue
        expected[name] = metadata.version(name)
        wanted += [
            more
            for more in map(Requirement, metadata.requires(name) or [])
            if any(more.marker is None or more.marker.evaluate({"extra": extra}) for extra in ("", *one.extras))
        ]
    assert found == expected


def errors(own: float, other: float | None = None) -> Scores:
    """Return the scores of a regression; a smaller rmse is an advantage."""
    both = {"other": {"rmse": estimate(other)}, "difference": {"rmse": estimate(other - own)}} if other else {}
    return Scores.model_validate({"rows": 200, "own": {"rmse": estimate(own)}, **both})


def test_a_smaller_error_is_shown_as_a_fall_and_counts_as_better() -> None:
    where = tuple(
        Slice(name=name, scores=errors(own, 500)) for name, own in (("cut is Fair", 470), ("cut is Good", 520))
    )
    told = report(8, 7, scores=errors(480, 500), slices=where, limits=Limits(compared=("rmse",)))
    found = compared(champion(7), version(8, report=told))
    assert found.measured.worst
    assert (found.measured.worst.name, found.measured.worst.is_certainly_worse) == ("cut is Good", True)
    quality, table = (one for one in sections(found) if one.title in {"Metrics", "Slices"})
    assert list(quality.rows[0]) == ["rmse (smaller is better) *", "500.000", "480.000", "-20.000 (-20.010 to -19.990)"]
    assert (
        table.sentences[0]
        == "Worst where cut is Good: rmse (smaller is better) +20.000 (+19.990 to +20.010), 200 rows."
    )


def test_without_a_champion_the_worst_slice_has_the_largest_error() -> None:
    where = tuple(Slice(name=name, scores=errors(own)) for name, own in (("cut is Fair", 470), ("cut is Good", 520)))
    told = report(8, None, scores=errors(480), slices=where, limits=Limits(compared=("rmse",)))
    found = compared(None, version(8, report=told))
    assert found.measured.worst
    assert found.measured.worst.name == "cut is Good"
    (table,) = (one for one in sections(found) if one.title == "Slices")
    assert [row[0] for row in table.rows] == ["cut is Good", "cut is Fair"]
