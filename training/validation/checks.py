"""Checks that a version must pass in its validation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from numpy.typing import NDArray

from contract.tasks import SHARES, better
from training.data import split
from training.fit import metrics
from training.fit.metrics import Estimate
from training.fit.predictions import Predictions
from training.mlflow_logging import TRUSTED, reason, trusted_types
from training.project import Project, ProjectError
from training.validation import candidate, comparison, script_checks, signatures, skew
from training.validation.candidate import Candidate, UnusableError
from training.validation.comparison import Scores
from training.validation.limits import Limits
from training.validation.verdict import Check, Slice, changed

SAME = 0.002
"""Tolerance for a metric that training recorded on the same rows, as a share of it unless it is at most 1 anyway: tags
are rounded, and packages may differ."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """Inputs of the checks that need no rows."""

    new: Candidate
    """Version to validate."""
    old: Candidate | None
    """Champion; None if there is no champion or `new` is the champion."""
    limits: Limits
    allow_code: bool = False
    """Whether a version may be loaded that runs code of its files, such as a pickle."""

    @property
    def trusted(self) -> Sequence[str] | None:
        """Types that loading a version may create; None for any, with code of the version."""
        return None if self.allow_code else self.types

    @property
    def types(self) -> Sequence[str]:
        """Types that loading a version may create without running code of it."""
        return TRUSTED


@dataclass(frozen=True, kw_only=True)
class ScriptInputs(Files):
    """Inputs of the checks of a version that a team's own script made, without a model project."""

    logged: Mapping[int, Mapping[str, float]]
    """Metrics that the script logged to its run, by version."""


@dataclass(frozen=True, kw_only=True)
class Inputs(Files):
    """Inputs of the checks of a model project's version."""

    project: Project[Any]
    table: pd.DataFrame
    """Checked table of the project; the validation holds out the same rows of it as the training did."""
    recorded: Mapping[int, Mapping[str, float]]
    """Metrics recorded by training, by version; empty for a version that was trained with another dataset."""

    @property
    def types(self) -> Sequence[str]:
        """Types that loading a version of the project may create without running code of it."""
        return trusted_types(self.project)


@dataclass(kw_only=True)
class Findings:
    """Results of the checks. A part that could not be measured is empty."""

    checks: list[Check] = field(default_factory=list[Check])
    scores: Scores | None = None
    """Metrics of both versions."""
    slices: Sequence[Slice] = ()
    """Metrics of both versions for each slice."""
    latency_ms: float | None = None
    """95th percentile of the latency for one row, in milliseconds."""


def run_checks(inputs: Inputs | ScriptInputs) -> Findings:
    """Run all checks. A refused check does not stop the others, unless the version cannot be loaded or predict."""
    found = Findings()
    found.checks += _static(inputs)
    try:
        found.checks += _runs(inputs, found)
        found.checks += (
            _measured(inputs, found)
            if isinstance(inputs, Inputs)
            else script_checks.logged(inputs.new.number, inputs.old and inputs.old.number, inputs.logged, inputs.limits)
        )
    except UnusableError as error:
        found.checks.append(Check(name="runs", outcome="refused", said=str(error)))
    return found


def _static(inputs: Files) -> Iterator[Check]:
    """Check signature, size and packages, without loading the version."""
    new, old, allowed = inputs.new, inputs.old, inputs.limits
    yield Check.of("signature", _signature_faults(new, old), "present, and compatible with clients of the champion")
    too_large = [f"its files have {new.size_mb:.1f} MB, and may have {allowed.size_mb:g} MB"]
    yield Check.of("size", too_large if new.size_mb > allowed.size_mb else [], f"{new.size_mb:.1f} MB")
    differences = skew.differences(new.requirements)
    far = [
        f"{one}; use the same packages in both images, or raise the limit skew"
        for one in skew.beyond(differences, allowed.skew)
    ]
    yield Check.of("packages", far, ", ".join(map(str, differences)) or "the same as at training")


def _signature_faults(new: Candidate, old: Candidate | None) -> list[str]:
    if new.signature is None:
        return ["it has no signature, so a server cannot check requests; log the model with a signature"]
    if old is None or old.signature is None:
        return []
    changes = signatures.breaking_changes(old.signature, new.signature)
    return [f"it breaks clients of version {old.number}: {', '.join(changes)}"] if changes else []


def _runs(inputs: Files, found: Findings) -> Iterator[Check]:
    """Check that the version predicts its input example, and how fast."""
    example, most = inputs.new.example, inputs.limits.latency_ms
    if example is None:
        yield Check(
            name="example",
            outcome="refused",
            said="it has no input example, so it cannot be tried; log the model with one",
        )
        return
    found.latency_ms = candidate.measure_latency(inputs.new.load(inputs.trusted), example, inputs.new.number)
    yield Check(name="example", outcome="passed", said=f"predicts its {len(example)} rows")
    said = f"95 % of the predictions for one row take at most {found.latency_ms:.1f} ms"
    yield Check.of("latency", [f"{said}, and may take {most:g} ms"] if found.latency_ms > most else [], said)


def _measured(inputs: Inputs, found: Findings) -> Iterator[Check]:
    """Check the metrics against the limits and the champion, over all unseen rows and in each slice."""
    unseen = split.held_out(inputs.project, inputs.table)
    own, other = _predictions(inputs, inputs.new, unseen), None
    if inputs.old:
        other = _predictions(inputs, inputs.old, unseen)
    found.scores = _compare(inputs, own, other)
    yield from _judge(found.scores, inputs.old, inputs.limits)
    found.slices = [
        _slice(inputs, name, _compare(inputs, own.only(rows), other.only(rows) if other else None))
        for name, rows in _slices(inputs.project, unseen)
    ]
    if found.slices:
        yield _worst(found.slices, inputs.old, inputs.limits)
    yield from _unseen(inputs, found.scores)


def _unseen(inputs: Inputs, scores: Scores) -> Iterator[Check]:
    """Check that neither model learned from the rows."""
    yield _unseen_by(inputs.new, scores.own, inputs, "refused")
    if inputs.old:
        yield _unseen_by(inputs.old, scores.other, inputs, "noted")


def _unseen_by(
    one: Candidate,
    measured: Mapping[str, Estimate],
    inputs: Inputs,
    fault: Literal["refused", "noted"],
) -> Check:
    name, before = f"rows unseen by version {one.number}", inputs.recorded.get(one.number, {})
    if not before:
        said = (
            f"version {one.number} was trained with another dataset, and may know some of these rows: this favours it"
        )
        if inputs.project.split.how == "random":
            said += ' (with Split(how="row"), a row that is held out once is always held out)'
        return Check(name=name, outcome="noted", said=said)
    for metric, value in before.items():
        if abs(measured[metric].value - value) > SAME * (1 if metric in SHARES else abs(value)):
            said = (
                f"{metric} of version {one.number} was {value:.3f} at its training and is {measured[metric].value:.3f} "
                "here, so the split has changed and it may have learned from these rows; train it again"
            )
            return Check(name=name, outcome=fault, said=said)
    return Check(name=name, outcome="passed", said="the metrics are the same as at its training")


def _compare(inputs: Inputs, own: Predictions, other: Predictions | None) -> Scores:
    return comparison.compare(own, other, samples=inputs.limits.resamples, seed=inputs.project.split.seed)


def _slice(inputs: Inputs, name: str, scores: Scores) -> Slice:
    allowed = inputs.limits
    judged = scores.rows >= allowed.slice_rows and scores.rarer >= allowed.slice_label_rows
    return Slice(name=name, scores=scores, judged=judged)


def _judge(scores: Scores, old: Candidate | None, allowed: Limits) -> Iterator[Check]:
    for name, least in allowed.least.items():
        low = [f"{name} is {scores.own[name].value:.3f} on {scores.rows} unseen rows, and must be at least {least:g}"]
        enough = scores.own[name].value >= least  # False for nan
        yield Check.of(name, [] if enough else low, f"{scores.own[name]}, at least {least:g}")
    for name, most in allowed.most.items():
        high = [f"{name} is {scores.own[name].value:.3f} on {scores.rows} unseen rows, and must be at most {most:g}"]
        within = scores.own[name].value <= most
        yield Check.of(name, [] if within else high, f"{scores.own[name]}, at most {most:g}")
    if old is None:
        yield Check(name="champion", outcome="noted", said="there is no champion to compare with")
        return
    for name in allowed.compared:
        difference, loss = scores.difference[name], -comparison.advantage(scores, name).value
        title = better(name, scores.smaller)
        said = f"{title} {changed(scores, name)} against version {old.number} on the same {scores.rows} rows"
        certainly = difference.high < 0 and loss > allowed.certain_loss
        faults = [f"{said}: certainly worse by more than {_share(name, allowed.certain_loss)}"] if certainly else []
        if not loss <= allowed.any_loss:  # also if one of the two is nan
            faults = [f"{said}: worse by more than {_share(name, allowed.any_loss)}"]
        yield Check.of(f"{name} compared with the champion", faults, said)


def _worst(slices: Sequence[Slice], old: Candidate | None, allowed: Limits) -> Check:
    judged = [one for one in slices if one.judged]
    faults = [fault for one in judged for fault in _slice_faults(one, old, allowed)]
    return Check.of(
        "slices", faults, f"{len(judged)} of {len(slices)} have enough rows to be judged, and keep the limits"
    )


def _slice_faults(one: Slice, old: Candidate | None, allowed: Limits) -> Iterator[str]:
    for name, least in allowed.slice_least.items():
        value = one.scores.own[name].value
        if value < least:
            yield f"{name} is {value:.3f} where {one.name} ({one.scores.rows} rows), and must be at least {least:g}"
    for name in allowed.compared if old else ():
        difference = one.scores.difference[name]
        if old and difference.high < 0 and -comparison.advantage(one.scores, name).value > allowed.slice_loss:
            yield (
                f"{better(name, one.scores.smaller)} {changed(one.scores, name)} against version {old.number} where "
                f"{one.name}: certainly worse by more than {_share(name, allowed.slice_loss)}"
            )


def _share(name: str, limit: float) -> str:
    return f"{limit:g}" if name in SHARES else f"{limit:.3g} of the champion's"


def _slices(declared: Project[Any], unseen: pd.DataFrame) -> Iterator[tuple[str, NDArray[Any]]]:
    for column in declared.slices:
        for value in sorted(unseen[column].dropna().unique()):
            yield f"{column} is {value}", (unseen[column] == value).to_numpy()


def _predictions(inputs: Inputs, one: Candidate, unseen: pd.DataFrame) -> Predictions:
    columns = one.columns or inputs.project.features
    if missing := [name for name in columns if name not in unseen]:
        raise UnusableError(
            f"version {one.number} takes the columns {', '.join(missing)}, which the project's table does not have, so "
            "it cannot be measured; train it again with the present project"
        )
    try:
        return metrics.predict(inputs.project, one.load(inputs.trusted).get_raw_model(), unseen, columns)
    except (AttributeError, KeyError, NotImplementedError, ProjectError, TypeError, ValueError) as error:
        raise UnusableError(
            f"version {one.number} cannot predict the unseen rows: {reason(error)}; train it with the present project"
        ) from error
