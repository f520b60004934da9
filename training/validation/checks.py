"""The checks that a version must pass before it may go forward."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from numpy.typing import NDArray

from training.data import split
from training.fit import metrics
from training.fit.metrics import Estimate, Predictions
from training.mlflow_logging import reason
from training.project import Project
from training.validation import candidate, comparison, signatures, skew
from training.validation.candidate import Candidate, UnusableError
from training.validation.comparison import Scores
from training.validation.limits import Limits
from training.validation.verdict import Check, Slice, signed

SAME = 0.002
"""How far a metric may be from what training recorded on the same rows: tags are rounded, and packages may differ."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """May `new` take the place of `old`?"""

    project: Project[Any]
    new: Candidate
    old: Candidate | None
    """The champion; none where there is none, or where `new` is the champion."""
    table: pd.DataFrame
    """A checked table of the project, from which the same rows are held out as in training."""
    recorded: Mapping[int, Mapping[str, float]]
    """By version, what its training measured on the rows held out of this table; nothing if it learned from another."""
    limits: Limits


@dataclass(kw_only=True)
class Findings:
    """The answer; what a failed check left no way to measure is empty."""

    checks: list[Check] = field(default_factory=list[Check])
    scores: Scores | None = None
    slices: Sequence[Slice] = ()
    latency_ms: float | None = None


def judge(question: Question) -> Findings:
    """Every check is made, also after one refused, as far as that is possible."""
    found = Findings()
    found.checks += _static(question)
    try:
        found.checks += _alive(question, found)
        found.checks += _measured(question, found)
    except UnusableError as error:
        found.checks.append(Check(name="runs", outcome="refused", said=str(error)))
    return found


def _static(question: Question) -> Iterator[Check]:
    """What can be said without running the version."""
    new, old, allowed = question.new, question.old, question.limits
    yield _check("signature", _signature_faults(new, old), "present, and no client of the champion notices")
    too_large = [f"its files take {new.size_mb:.1f} MB, and may take {allowed.size_mb:g}"]
    yield _check("size", too_large if new.size_mb > allowed.size_mb else [], f"{new.size_mb:.1f} MB")
    differences = skew.differences(new.requirements)
    far = [f"{one}; make the images alike, or allow it with skew" for one in skew.beyond(differences, allowed.skew)]
    yield _check("packages", far, ", ".join(map(str, differences)) or "as it was made with")


def _signature_faults(new: Candidate, old: Candidate | None) -> list[str]:
    if new.signature is None:
        return ["it has no signature; log it with one: a server checks nothing without"]
    if old is None or old.signature is None:
        return []
    changes = signatures.breaking_changes(old.signature, new.signature)
    return [f"it breaks clients of version {old.number}: {', '.join(changes)}"] if changes else []


def _alive(question: Question, found: Findings) -> Iterator[Check]:
    """It answers as a server would let it answer."""
    example, most = question.new.example, question.limits.latency_ms
    if example is None:
        yield Check(name="example", outcome="refused", said="it has no input example; log it with one")
        return
    found.latency_ms = candidate.answer(question.new.load(), example, question.new.number)
    yield Check(name="example", outcome="passed", said=f"answers its {len(example)} rows")
    said = f"95 of 100 predictions of one row take at most {found.latency_ms:.1f} ms"
    yield _check("latency", [f"{said}, and may take {most:g}"] if found.latency_ms > most else [], said)


def _measured(question: Question, found: Findings) -> Iterator[Check]:
    """How good it is, by itself and beside the champion, everywhere and in each slice."""
    unseen = split.held_out(question.project, question.table)
    own, other = _predictions(question, question.new, unseen), None
    if question.old:
        other = _predictions(question, question.old, unseen)
    found.scores = _compare(question, own, other)
    yield from _judge(found.scores, question.old, question.limits)
    found.slices = [
        _slice(question, name, _compare(question, own.only(rows), other.only(rows) if other else None))
        for name, rows in _slices(question.project, unseen)
    ]
    if found.slices:
        yield _worst(found.slices, question.old, question.limits)
    yield from _unseen(question, found.scores)


def _unseen(question: Question, scores: Scores) -> Iterator[Check]:
    """Whether the rows are those that neither model learned from."""
    yield _unseen_by(question.new, scores.own, question.recorded, "refused")
    if question.old:
        yield _unseen_by(question.old, scores.other, question.recorded, "noted")


def _unseen_by(
    one: Candidate,
    measured: Mapping[str, Estimate],
    recorded: Mapping[int, Mapping[str, float]],
    fault: Literal["refused", "noted"],
) -> Check:
    name, before = f"rows unseen by version {one.number}", recorded.get(one.number, {})
    if not before:
        said = f"version {one.number} learned from other data, and may know some of the rows: this favours it"
        return Check(name=name, outcome="noted", said=said)
    for metric, value in before.items():
        if abs(measured[metric].value - value) > SAME:
            said = (
                f"{metric} of version {one.number} was {value:.3f} in its training and is {measured[metric].value:.3f} "
                "here: the split has changed since, and it may have learned from these rows; train it again"
            )
            return Check(name=name, outcome=fault, said=said)
    return Check(name=name, outcome="passed", said="the metrics are those of its training")


def _compare(question: Question, own: Predictions, other: Predictions | None) -> Scores:
    return comparison.compare(own, other, samples=question.limits.resamples, seed=question.project.split.seed)


def _slice(question: Question, name: str, scores: Scores) -> Slice:
    allowed = question.limits
    judged = scores.rows >= allowed.slice_rows and scores.rarer >= allowed.slice_label_rows
    return Slice(name=name, scores=scores, judged=judged)


def _judge(scores: Scores, old: Candidate | None, allowed: Limits) -> Iterator[Check]:
    for name, least in allowed.least.items():
        low = [f"{name} is {scores.own[name].value:.3f} on {scores.rows} unseen rows, and must be at least {least:g}"]
        yield _check(name, low if scores.own[name].value < least else [], f"{scores.own[name]}, at least {least:g}")
    if old is None:
        yield Check(name="champion", outcome="noted", said="there is none to compare with")
        return
    for name in allowed.compared:
        difference = scores.difference[name]
        said = f"{name} {signed(difference)} against version {old.number} on the same {scores.rows} rows"
        certainly = difference.high < 0 and -difference.value > allowed.certain_loss
        faults = [f"{said}: certainly worse by more than {allowed.certain_loss:g}"] if certainly else []
        if -difference.value > allowed.any_loss:
            faults = [f"{said}: worse by more than {allowed.any_loss:g}"]
        yield _check(f"{name} beside the champion", faults, said)


def _worst(slices: Sequence[Slice], old: Candidate | None, allowed: Limits) -> Check:
    judged = [one for one in slices if one.judged]
    faults = [fault for one in judged for fault in _slice_faults(one, old, allowed)]
    return _check(
        "slices", faults, f"{len(judged)} of {len(slices)} have rows enough to be judged, and keep the limits"
    )


def _slice_faults(one: Slice, old: Candidate | None, allowed: Limits) -> Iterator[str]:
    for name, least in allowed.slice_least.items():
        value = one.scores.own[name].value
        if value < least:
            yield f"{name} is {value:.3f} where {one.name} ({one.scores.rows} rows), and must be at least {least:g}"
    for name in allowed.compared if old else ():
        loss = one.scores.difference[name]
        if old and loss.high < 0 and -loss.value > allowed.slice_loss:
            yield (
                f"{name} {signed(loss)} against version {old.number} where {one.name}: certainly worse by more than "
                f"{allowed.slice_loss:g}"
            )


def _slices(declared: Project[Any], unseen: pd.DataFrame) -> Iterator[tuple[str, NDArray[Any]]]:
    for column in declared.slices:
        for value in sorted(unseen[column].dropna().unique()):
            yield f"{column} is {value}", (unseen[column] == value).to_numpy()


def _predictions(question: Question, one: Candidate, unseen: pd.DataFrame) -> Predictions:
    columns = one.columns or question.project.features
    if strange := [name for name in columns if name not in unseen]:
        raise UnusableError(
            f"version {one.number} takes {', '.join(strange)}, which the project's data does not have: it cannot be "
            "measured on it; train it with the project as it is now"
        )
    try:
        return metrics.predict(question.project, one.load().get_raw_model(), unseen, columns)
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise UnusableError(f"version {one.number} cannot predict the unseen rows: {reason(error)}") from error


def _check(name: str, faults: Sequence[str], said: str) -> Check:
    return Check(name=name, outcome="refused" if faults else "passed", said="; ".join(faults) or said)
