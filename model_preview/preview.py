"""Preview of one endpoint: a verdict line, reasons, and tables of plain text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from contract.tasks import better
from model_preview import diff, images, verdict
from model_preview.diff import Measured, Metric, ModelDiff, SliceMetric
from model_preview.facts import Change, Estimate, Facts, Frozen, Unverified, Version, number
from model_preview.packages import Fit
from model_preview.redact import plain
from model_preview.verdict import Gate, Verdict

UNKNOWN = "unknown"
NOTHING = "none"
LONGEST_CELL = 60
LONGEST_SENTENCE = 600
ROWS_SHOWN = 30
VALIDATION = "\n\nValidation: "
"""Text before the part that a validation adds to a description; the preview shows that part elsewhere."""
_FITS = {
    Fit.PATCH: "another patch release",
    Fit.OTHER: "differs",
    Fit.MISSING: "missing",
    Fit.UNKNOWN: "unknown",
    Fit.SAME: "",
}


class Preview(Frozen):
    """Decision of the gate about one endpoint, and the difference on which it is based."""

    change: Change
    verdict: Verdict
    diff: ModelDiff | None = None
    """Difference of the two versions; None if MLflow was not asked or did not respond."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Part of a preview: sentences, then a table whose cells are plain text on one line."""

    title: str
    sentences: Sequence[str] = ()
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def preview(
    change: Change, facts: Facts | Unverified | None, gate: Gate, image: Mapping[str, str] | None = None
) -> Preview:
    """Return the preview of one endpoint.

    Args:
        change: endpoint, its served version and its next one.
        facts: facts from MLflow, or the reason why they cannot be read; None if the gate needs none.
        gate: settings of the stack and of the endpoint.
        image: packages of the serving image by name; None if they are not known.
    """
    found = diff.compare(change, facts, image) if isinstance(facts, Facts) else None
    if found and found.new:
        serving = images.chosen(gate.image, gate.standard_image, found.new.serving_image)
        found = found.model_copy(update={"image": serving})
    return Preview(change=change, verdict=verdict.judge(change, facts, found, gate), diff=found)


def sections(found: ModelDiff) -> list[Section]:
    """Return the sections below the verdict, the most important first; without a next version, only the notes."""
    if found.new is None:
        return [Section(title="Notes", sentences=found.notes)] if found.notes else []
    made = [
        Section(title="Notes", sentences=found.notes),
        _quality(found.measured, found),
        _slices(found.measured),
        _signature(found),
        _packages(found),
        _origin(found.old, found.new, found),
        _parameters(found),
        Section(title="Description", sentences=[found.new.description.split(VALIDATION)[0]]),
        Section(title="Unknown", sentences=list(_unknown(found))),
    ]
    return [_bounded(one) for one in made if one.rows or any(one.sentences)]


def _bounded(section: Section) -> Section:
    """Return the section with limits on rows and characters, because a run may have thousands of long parameters."""
    said = [_short(sentence, LONGEST_SENTENCE) for sentence in section.sentences if sentence]
    if len(section.rows) > ROWS_SHOWN:
        said.append(f"{ROWS_SHOWN} of {len(section.rows)} rows are listed; the JSON view has all.")
    rows = [[_short(cell, LONGEST_CELL) for cell in row] for row in section.rows[:ROWS_SHOWN]]
    return Section(title=section.title, sentences=said, headings=section.headings, rows=rows)


def _quality(measured: Measured, found: ModelDiff) -> Section:
    against = measured.against
    served = found.change.old.version if found.change.old else None
    elsewhere = against not in {None, served}
    rows = [
        (f"{_title(one)} *" if one.compared else _title(one), number(one.old), number(one.new),
         _change(one, one.difference) if one.difference
         else NOTHING if elsewhere else _plain_difference(one.old, one.new))
        for one in measured.metrics
    ]  # fmt: skip
    said = [measured.said]
    if any(one.compared for one in measured.metrics):
        said.append("The validation judges by the metrics marked *.")
    headings = ("metric", *_versions(found), f"difference to {against}" if elsewhere else "difference")
    return Section(title="Metrics", sentences=said, headings=headings, rows=rows)


def _plain_difference(old: float | None, new: float | None) -> str:
    return UNKNOWN if old is None or new is None else f"{number(new - old, '+')} (no interval)"


def _slices(measured: Measured) -> Section:
    if not measured.slices:
        return Section(title="Slices")
    worse = [one.name for one in measured.slices if one.judged and one.is_certainly_worse]
    said = [f"Certainly worse where {', '.join(worse)}." if worse else ""]
    if worst := measured.worst:
        figure = _change(worst, worst.difference) if worst.difference else number(worst.new)
        said.insert(0, f"Worst where {worst.name}: {_title(worst)} {figure}, {worst.rows:,} rows.")
    few = sum(not one.judged for one in measured.slices)
    said.append(f"{few} of {len(measured.slices)} slices have too few rows to be judged." if few else "")
    order = sorted(measured.slices, key=_loss)
    rows = [
        (one.name if one.judged else f"{one.name} (few rows)", f"{one.rows:,}", number(one.new),
         _change(one, one.difference) if one.difference else NOTHING)
        for one in order
    ]  # fmt: skip
    metric = _title(measured.slices[0])
    return Section(title="Slices", sentences=said, headings=("where", "rows", metric, "difference"), rows=rows)


def _loss(one: SliceMetric) -> tuple[bool, float]:
    value = one.difference.value if one.difference else one.new
    if one.difference is None and one.smaller and value is not None:
        value = -value
    return not one.judged, float("inf") if value is None else value


def _title(one: Metric | SliceMetric) -> str:
    name = one.name if isinstance(one, Metric) else one.metric
    return better(name, {name} if one.smaller else ())


def _change(one: Metric | SliceMetric, advantage: Estimate) -> str:
    """Return the change of a metric as text: a metric that is better when smaller falls with an advantage."""
    return (advantage.negated if one.smaller else advantage).signed


def _signature(found: ModelDiff) -> Section:
    change = found.signature
    if change is None:
        said = ["There is no served version to compare with."]
        if found.change.old:
            said = ["A signature is not known; the section Notes or Unknown says why."]
    elif not (change.breaking or change.harmless):
        said = ["Clients notice nothing: the columns are the same."]
    else:
        said = [
            *(f"Breaks clients: {one}." for one in change.breaking),
            *(f"Clients notice nothing: {one}." for one in change.harmless),
        ]
    return Section(title="Signature", sentences=said)


def _packages(found: ModelDiff) -> Section:
    shown = [one for one in found.packages if one.is_worth_showing]
    known = found.new is not None and found.new.requirements is not None
    said = [] if shown or not known else ["The packages are those of the served version and of the serving image."]
    if any(one.fit is Fit.UNKNOWN for one in found.packages):
        said = ["The packages of the serving image are not known."]
    if found.image:
        said = [f"The pods run {found.image}.", *said]
    rows = [
        (one.name, one.old or NOTHING, one.new or NOTHING, " ".join(filter(None, (one.image, _FITS[one.fit]))))
        for one in shown
    ]
    return Section(
        title="Packages", sentences=said, headings=("package", *_versions(found), "serving image"), rows=rows
    )


def _origin(old: Version | None, new: Version, found: ModelDiff) -> Section:
    before = _facts(old) if old else {}
    rows = [(name, before.get(name, NOTHING), value) for name, value in _facts(new).items()]
    return Section(title="Origin", headings=("", *_versions(found)), rows=rows)


def _facts(one: Version) -> dict[str, str]:
    return {
        "validation": _validation(one),
        "stage": " ".join((str(one.stage), *(f"@{alias}" for alias in one.aliases))),
        "run": (one.run or UNKNOWN)[:12],
        "author": one.author or UNKNOWN,
        "registered": _moment(one.registered),
        "commit": (one.commit or UNKNOWN)[:12],
        "image": _end(one.image or UNKNOWN),
        "dataset": _end(one.dataset or UNKNOWN),
        "data digest": (one.dataset_digest or UNKNOWN)[:12],
        "data rows": UNKNOWN if one.rows is None else f"{one.rows:,}",
        "model digest": (one.digest or UNKNOWN)[:12],
        "files": _end(one.source or UNKNOWN),
        "size": UNKNOWN if one.size_mb is None else f"{one.size_mb:.2f} MB",
        "latency (95 %)": UNKNOWN if one.latency_ms is None else f"{one.latency_ms:.1f} ms",
    }


def _validation(one: Version) -> str:
    if not one.validation_status:
        return "not validated"
    against = {"none": "alone", "": "against an unknown version"}.get(
        one.validated_against, f"against version {one.validated_against}"
    )
    when = f", {_moment(one.validated_at)}" if one.validated_at else ""
    return f"{one.validation_status} {against}{when}"


def _parameters(found: ModelDiff) -> Section:
    rows = [(one.name, *(NOTHING if side is None else side for side in (one.old, one.new))) for one in found.parameters]
    return Section(title="Changed parameters", headings=("parameter", *_versions(found)), rows=rows)


def _unknown(found: ModelDiff) -> Iterator[str]:
    for one in (found.new, found.old):
        for what, why in one.unknown.items() if one else ():
            yield f"{what} of version {one.number if one else ''}: {why}."


def _versions(found: ModelDiff) -> tuple[str, str]:
    old, new = found.change.old, found.change.new
    return f"{old.version} (served)" if old else "served", f"{new.version} (new)" if new else "new"


def _moment(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else UNKNOWN


def _end(text: str) -> str:
    """Return the end of a long address, because the end says more than the beginning."""
    return text if len(text) <= LONGEST_CELL else f"...{text[3 - LONGEST_CELL :]}"


def _short(text: str, length: int) -> str:
    line = plain(text)
    return line if len(line) <= length else f"{line[: length - 3]}..."
