"""Reports of logs that the server's own writer made."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pandas as pd
import pytest

from experiments.comparison import Question, ShareUnknownError, compare
from experiments.report import Decision, Report
from prediction_log import outcomes, store
from prediction_log.log import Part
from prediction_log.store import LogError
from tests.experiments.logs import EXPERIMENT, MODEL, START, Row, experiment, write

HOUR = timedelta(hours=1)
Make = Callable[..., Report]
PART = Part(model=MODEL, start=START - HOUR, end=START + timedelta(days=30))


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """Return a function that writes rows and outcomes and compares them."""

    calls = count(1)

    def make(rows: Sequence[Row], known: str = "", **more: object) -> Report:
        folder = write(tmp_path / f"log-{next(calls)}", rows)
        (tmp_path / "outcomes.csv").write_text(known)
        question = replace(Question(part=PART, percent=50), **more)
        return compare(
            question, store.at(str(folder)), outcomes.read(str(tmp_path / "outcomes.csv")) if known else None
        )

    return make


def better(role: str) -> float:
    return 0.95 if role == "challenger" else 0.7


def test_a_better_challenger_is_promoted(made: Make) -> None:
    report = made(*experiment(1000, right=better))
    assert report.decision is Decision.PROMOTE
    assert "version: 8" in report.recommendation
    assert report.metric
    assert report.metric.name == "accuracy"
    overall = report.metric.overall
    assert (overall.champion, overall.challenger) == (pytest.approx(0.7, abs=0.05), pytest.approx(0.95, abs=0.03))
    assert report.joined
    assert (report.joined.joined, report.joined.unknown) == (2000, 0)
    champion, challenger = report.arms
    assert champion.units + challenger.units == 1000
    assert champion.requests + challenger.requests == 2000
    assert 4 < champion.latency.p50 < 6
    assert set(champion.classes) == {"Yes", "No"}


def test_a_worse_challenger_is_aborted(made: Make) -> None:
    report = made(*experiment(1000, right=lambda role: 1.6 - better(role)))
    assert report.decision is Decision.ABORT
    assert "Keep version 7" in report.recommendation


def test_equal_versions_go_on_and_the_report_says_for_how_long(made: Make) -> None:
    report = made(*experiment(600, visits=1))
    assert report.decision is Decision.CONTINUE
    assert report.metric
    assert report.metric.units_to_decide
    assert report.metric.units_to_decide > 600
    assert f"{report.metric.units_to_decide:,} units" in report.recommendation


def test_requests_of_one_customer_count_as_one_unit(made: Make) -> None:
    """A customer who comes a hundred times must not decide alone."""
    rows, known = experiment(300, visits=1)
    loud = [replace(rows[0], request_id=f"loud-{place}", at=START + timedelta(seconds=place)) for place in range(1000)]
    label = "Yes" if rows[0].prediction == "No" else "No"
    known += "".join(f"{row.request_id},0,{label},{(row.at + HOUR).isoformat()}\n" for row in loud)
    report = made([*rows, *loud], known)
    assert report.metric
    assert report.metric.overall.champion_units + report.metric.overall.challenger_units == 300
    assert report.metric.overall.champion == pytest.approx(0.8, abs=0.1)


def test_a_wrong_sample_ratio_stops_every_conclusion(made: Make) -> None:
    report = made(*experiment(1000, share=0.3, right=better))
    assert report.decision is Decision.DO_NOT_CONCLUDE
    assert report.recommendation == "Do not conclude anything from this experiment."
    assert re.search(r"saw the challenger and 50 % were declared \(p = ", report.problems[0])
    assert made(*experiment(1000, share=0.3, right=better), percent=30).decision is Decision.PROMOTE


def test_units_that_saw_both_versions_are_left_out_and_stop_conclusions(made: Make) -> None:
    rows, known = experiment(1000, right=better)
    moved = [replace(row, role="challenger", version=8, request_id=f"{row.request_id}-b") for row in rows[:100]]
    report = made([*rows, *moved], known)
    assert report.keys
    assert report.keys.in_both == len({row.unit for row in rows[:100] if row.role == "champion"})
    assert report.decision is Decision.DO_NOT_CONCLUDE
    assert "units saw both versions" in report.problems[0]


def test_a_version_that_changed_during_the_experiment_stops_conclusions_until_since_excludes_it(made: Make) -> None:
    rows, known = experiment(1000, right=better)
    middle = START + timedelta(hours=4)
    rows = [replace(row, version=6) if row.role == "champion" and row.at < middle else row for row in rows]
    assert "the champion was versions 6 and 7" in made(rows, known).problems[0]
    assert made(rows, known, part=replace(PART, start=middle)).decision is Decision.PROMOTE


def test_a_client_that_changes_its_key_with_each_request_is_counted_and_named(made: Make) -> None:
    rows, known = experiment(400, visits=1)
    odd = [replace(rows[0], request_id=f"odd-{place:03}", unit=f"odd{place}") for place in range(50)]
    without = [replace(rows[0], request_id=f"none-{place}", unit=None, experiment=None) for place in range(7)]
    report = made([*rows, *odd, *without], known)
    assert report.keys
    assert report.keys.repeated == {"0-0": 51}
    assert report.keys.unassigned == 7
    assert any("0-0 (51 keys)" in warning for warning in report.warnings)


def test_without_outcomes_nothing_is_recommended(made: Make) -> None:
    rows, _ = experiment(300)
    assert made(rows).decision is Decision.NO_OUTCOMES


def test_the_challengers_share_must_be_known(made: Make) -> None:
    with pytest.raises(ShareUnknownError, match="write --percent"):
        made(experiment(20)[0], percent=None)


def test_a_probability_is_measured_by_the_brier_score_and_a_number_by_its_error(made: Make) -> None:
    rows = [replace(row, prediction=0.9 if row.role == "champion" else 0.6) for row in experiment(300, visits=1)[0]]
    report = made(rows, "request_id,label\n" + "".join(f"{row.request_id},1\n" for row in rows))
    assert report.metric
    assert (report.metric.name, report.metric.more_is_better) == ("Brier score", False)
    assert report.metric.overall.champion == pytest.approx(0.01)
    assert report.decision is Decision.ABORT
    report = made(rows, "request_id,label\n" + "".join(f"{row.request_id},2.5\n" for row in rows))
    assert report.metric
    assert report.metric.name == "absolute error"
    assert report.metric.overall.champion == pytest.approx(1.6)


def test_a_slice_among_others_has_a_wider_interval_than_it_would_have_alone(made: Make) -> None:
    rows, known = experiment(1000, right=better)
    report = made(rows, known, slices=["contract"])
    alone = made([row for row in rows if row.contract == "yearly"], known)
    assert report.metric
    assert alone.metric
    monthly, yearly = report.metric.slices
    assert (monthly.slice, yearly.slice) == ("contract = monthly", "contract = yearly")
    assert yearly.difference == pytest.approx(alone.metric.overall.difference)
    assert yearly.low is not None
    assert alone.metric.overall.low is not None
    assert yearly.low < alone.metric.overall.low - 0.005


def test_a_slice_that_does_not_exist_names_those_that_do(made: Make) -> None:
    rows, known = experiment(50)
    with pytest.raises(LogError, match="no input column contrakt; write --by with one of contract, charges"):
        made(rows, known, slices=["contrakt"])
    with pytest.raises(LogError, match="the column charges has 50 values, which is more than 20"):
        made(rows, known, slices=["charges"])


def test_labels_that_no_model_predicts_are_an_error(made: Make) -> None:
    rows, known = experiment(300)
    with pytest.raises(LogError, match=r"labels are churned, stayed, predictions No, Yes"):
        made(rows, known.replace("Yes", "churned").replace("No", "stayed"))


def test_outcomes_are_counted_when_they_are_unknown_repeated_or_too_early(made: Make) -> None:
    rows, known = experiment(100)
    early = f"{rows[0].request_id},0,Yes,{(rows[0].at - HOUR).isoformat()}\n"
    header, first, *others = known.splitlines(keepends=True)
    assert first.startswith(rows[0].request_id)
    report = made(rows, "".join([header, early, *others, others[0], "nobody,0,Yes,2026-12-05T00:00:00Z\n"]))
    assert report.joined
    assert report.joined.model_dump() == {"outcomes": 201, "joined": 199, "repeated": 1, "unknown": 1, "early": 1}


def test_a_shadow_is_joined_to_the_champions_answers_across_the_hour(made: Make) -> None:
    late = START + HOUR - timedelta(milliseconds=1)
    first = Row(request_id="", prediction=0.0, at=late, experiment=None, latency_ms=5)
    rows = [replace(first, request_id=f"{place}", prediction=float(place)) for place in range(100)]
    shadow = [
        replace(
            row, role="shadow", version=9, at=late + timedelta(seconds=1), latency_ms=8,
            prediction=row.prediction if place % 2 else float(place) + 0.5,
        )
        for place, row in enumerate(rows)
    ]  # fmt: skip
    report = made([*rows, *shadow, replace(shadow[0], request_id="lost")])
    assert report.decision is Decision.NO_CHALLENGER
    assert report.shadow
    assert (report.shadow.joined, report.shadow.alone, report.shadow.equal) == (100, 1, 0.5)
    assert report.shadow.shift
    assert report.shadow.shift.mean == pytest.approx(0.25)
    assert report.shadow.slower_ms.p50 == pytest.approx(3)


def test_files_of_former_releases_and_broken_files_are_read_and_named(made: Make, tmp_path: Path) -> None:
    former = [Row(request_id=f"old-{place}", prediction="Yes", version=6, experiment=None) for place in range(5)]
    place = write(tmp_path / "log-1", former)
    for file in place.rglob("*.parquet"):
        pd.read_parquet(file).drop(columns=["role", "experiment", "unit"]).to_parquet(file)
        (file.parent / "half.parquet").write_bytes(b"PAR1 half")
    report = made(*experiment(1000, right=better))
    assert report.decision is Decision.PROMOTE
    assert "1 files of the log cannot be read and are left out" in report.warnings[0]


def test_a_log_without_the_experiment_names_what_to_check(made: Make) -> None:
    with pytest.raises(LogError, match="belongs to the experiment other; check --since, --until and --experiment"):
        made(experiment(10)[0], experiment="other")


def test_the_last_experiment_is_compared_and_the_others_are_named(made: Make) -> None:
    rows, known = experiment(300)
    earlier = timedelta(days=8)
    before = [replace(row, experiment="first", request_id=f"0-{row.request_id}", at=row.at - earlier) for row in rows]
    report = made([*before, *rows], known, part=replace(PART, start=START - timedelta(days=9)))
    assert report.experiment == EXPERIMENT
    assert any("other experiments in this period: first" in warning for warning in report.warnings)
