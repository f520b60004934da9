"""Difference between the served version of an endpoint and the next one, computed from facts alone."""

from collections.abc import Iterator, Mapping, Sequence

from model_preview import packages, signatures
from model_preview.facts import Change, Estimate, Facts, Frozen, Report, Scores, Version
from model_preview.packages import Package
from model_preview.signatures import SignatureChange


class Metric(Frozen):
    """Metric of both versions. `difference` has an interval only if both were measured on the same rows."""

    name: str
    old: float | None
    new: float | None
    difference: Estimate | None = None
    """Advantage of the new version over version `Measured.against`; None if no validation measured it."""
    compared: bool = False
    """True if the validation judges the version by this metric."""
    smaller: bool = False
    """True if the metric is better when smaller."""


class SliceMetric(Frozen):
    """Validation's first compared metric, measured on the rows of one category."""

    name: str
    rows: int
    metric: str
    old: float | None
    new: float | None
    difference: Estimate | None
    judged: bool
    smaller: bool = False
    """True if the metric is better when smaller."""

    @property
    def is_certainly_worse(self) -> bool:
        """True if the whole interval of the difference lies below zero."""
        return bool(self.difference and self.difference.high is not None and self.difference.high < 0)


class Measured(Frozen):
    """Metrics and slices of the new version, compared with an older one if a validation measured both."""

    against: int | None = None
    """Version that a validation compared the new one with on the same rows; None if there was no such comparison."""
    rows: int | None = None
    """Number of rows on which the validation compared the versions; None without a comparison."""
    said: str
    """Sentence about the origin of the figures."""
    metrics: tuple[Metric, ...] = ()
    slices: tuple[SliceMetric, ...] = ()
    worst: SliceMetric | None = None
    """Slice with the largest loss (without differences, the worst metric) among those with enough rows."""


class Parameter(Frozen):
    """Training parameter whose value changes; None for a version that does not have it."""

    name: str
    old: str | None
    new: str | None


class ModelDiff(Frozen):
    """Changes of one endpoint's model that a release makes."""

    endpoint: str
    change: Change
    old: Version | None
    """Served version; None for a new endpoint, or if the registry no longer has the version."""
    new: Version | None
    """Next version; None for a removed endpoint, or if the registry does not have the version."""
    measured: Measured
    signature: SignatureChange | None
    """Difference of the two signatures; None if one of them is not known."""
    packages: tuple[Package, ...]
    image: str = ""
    """Image that serves the next version; empty if it is not known."""
    parameters: tuple[Parameter, ...]
    notes: tuple[str, ...] = ()
    """Sentences about facts that a reader of the figures could misunderstand."""


def compare(change: Change, facts: Facts, image: Mapping[str, str] | None = None) -> ModelDiff:
    """Return the difference that the change makes.

    Args:
        change: endpoint, its served version and its next one.
        facts: facts from MLflow about both versions.
        image: packages of the serving image by name; None if they are not known.
    """
    old, new = facts.version(change.old), facts.version(change.new)
    before, after = old and old.signature, new and new.signature
    return ModelDiff(
        endpoint=change.endpoint,
        change=change,
        old=old,
        new=new,
        measured=_measured(old, new),
        signature=signatures.compare(before, after) if before and after else None,
        packages=packages.compare((old and old.requirements) or (), new.requirements or (), image) if new else (),
        parameters=tuple(_parameters(old, new)),
        notes=tuple(_notes(change, facts, old, new)),
    )


def _measured(old: Version | None, new: Version | None) -> Measured:
    if new is None:
        return Measured(said="There is no new version to measure.")
    served = old.number if old and old.model == new.model else None
    report, back = new.report, old.report if old else None
    compared = report if report and report.scores and report.champion not in {None, new.number} else None
    if (
        served
        and back
        and back.scores
        and back.champion == new.number
        and not (compared and compared.champion == served)
    ):
        compared = _reversed(back, new.number)
    if compared:
        return _compared(old, new, compared, served)
    metrics = tuple(_metrics(old, new, report.scores if report else None, ()))
    slices = tuple(_slices(report))
    own = f"version {new.number} was measured alone" if report and report.scores else "no validation measured it"
    if old:
        same = old.dataset_digest is not None and old.dataset_digest == new.dataset_digest
        own = (
            f"no validation compared the two versions; each value is from the version's own training, on "
            f"{'the same dataset' if same else 'datasets that differ or are not known'}"
        )
    return Measured(said=f"{own[0].upper()}{own[1:]}.", metrics=metrics, slices=slices, worst=_worst(slices))


def _compared(old: Version | None, new: Version, report: Report, served: int | None) -> Measured:
    scores, against = report.scores or Scores(rows=0), report.champion
    slices = tuple(_slices(report))
    said = f"Both versions were measured on the same {scores.rows:,} rows; intervals are paired, 95 %."
    if against != served:
        is_served = f", not with version {served}, which is served" if served else ""
        said = (
            f"The validation compared version {new.number} with version {against}{is_served}: differences are to "
            f"version {against}, on the same {scores.rows:,} rows; intervals are paired, 95 %."
        )
    metrics = tuple(_metrics(old, new, scores, report.limits.compared, paired=against == served))
    return Measured(against=against, rows=scores.rows, said=said, metrics=metrics, slices=slices, worst=_worst(slices))


def _reversed(report: Report, version: int) -> Report:
    """Return the report with its two versions exchanged: the new version first, the served one as the champion."""
    return report.model_copy(
        update={
            "version": version,
            "champion": report.version,
            "scores": _swapped(report.scores) if report.scores else None,
            "slices": tuple(one.model_copy(update={"scores": _swapped(one.scores)}) for one in report.slices),
        }
    )


def _swapped(scores: Scores) -> Scores:
    difference = {name: one.negated for name, one in scores.difference.items()}
    return scores.model_copy(update={"own": scores.other, "other": scores.own, "difference": difference})


def _metrics(
    old: Version | None, new: Version, scores: Scores | None, compared: Sequence[str], *, paired: bool = False
) -> Iterator[Metric]:
    own: Mapping[str, Estimate] = scores.own if scores else {}
    before: Mapping[str, float] = old.metrics if old else {}
    for name in sorted({*own, *new.metrics, *before}, key=lambda name: (name not in compared, name not in own, name)):
        other = scores.other.get(name) if scores and paired else None
        yield Metric(
            name=name,
            old=other.value if other else before.get(name),
            new=own[name].value if name in own else new.metrics.get(name),
            difference=scores.difference.get(name) if scores else None,
            compared=name in compared,
            smaller=name in new.smaller,
        )


def _slices(report: Report | None) -> Iterator[SliceMetric]:
    for one in report.slices if report else ():
        metric = next(iter((*(report.limits.compared if report else ()), *one.scores.own)), "")
        own, other = one.scores.own.get(metric), one.scores.other.get(metric)
        yield SliceMetric(
            name=one.name,
            rows=one.scores.rows,
            metric=metric,
            old=other.value if other else None,
            new=own.value if own else None,
            difference=one.scores.difference.get(metric),
            judged=one.judged,
            smaller=metric in one.scores.smaller,
        )


def _worst(slices: Sequence[SliceMetric]) -> SliceMetric | None:
    judged = [one for one in slices if one.judged]
    lost = [(one.difference.value, one) for one in judged if one.difference and one.difference.value is not None]
    low = [(-one.new if one.smaller else one.new, one) for one in judged if one.new is not None]
    return min(lost if any(one.difference for one in judged) else low, key=lambda pair: pair[0], default=(0.0, None))[1]


def _parameters(old: Version | None, new: Version | None) -> Iterator[Parameter]:
    if old is None or new is None:
        return
    for name in sorted({*old.parameters, *new.parameters}):
        before, after = old.parameters.get(name), new.parameters.get(name)
        if before != after:
            yield Parameter(name=name, old=before, new=after)


def _notes(change: Change, facts: Facts, old: Version | None, new: Version | None) -> Iterator[str]:
    if change.old and change.new and change.old.model != change.new.model:
        yield f"The endpoint changes its model from {change.old.model} to {change.new.model}."
    if change.old and not old:
        yield (
            f"The registry no longer has {change.old.model} version {change.old.version}, which is served: nothing can "
            "be compared with it."
        )
    for model in facts.models.values():
        if model.dangling and change.new and change.new.model == model.name:
            champion = model.aliases[model.dangling[0]]
            yield f"The alias @{model.dangling[0]} points to version {champion}, which does not exist."
    for check in new.report.checks if new and new.report else ():
        if check.outcome == "noted" and check.name != "champion":
            yield f"Validation: {check.said}."
