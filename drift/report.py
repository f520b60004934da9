"""Report of a look: JSON for programs, and one self-contained HTML page with pictures, without scripts."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift.estimate import BLIND
from drift.hypotheses import FLOORS
from drift.look import Look
from drift.reference import Column, Numbers, Words
from drift.window import Counts
from training.validation.report import STYLE

WIDTH, HEIGHT, BARS = 520, 120, 20
PICTURES = 12
"""Largest number of columns that the page draws: those that drifted, then those with the smallest probabilities."""


def as_json(look: Look) -> dict[str, Any]:
    """Return the look as values of JSON."""
    request = look.request
    return {
        "model": request.model,
        "version": request.version,
        "start": request.start.isoformat(),
        "end": request.end.isoformat(),
        "status": look.status,
        "has_effect": look.has_effect,
        "summary": look.summary,
        "rows": look.window.rows,
        "level": request.level,
        "notes": list(look.notes),
        "estimated_roc_auc": vars(look.estimated) if look.estimated else None,
        "roc_auc_of_training": list(look.expected) if look.expected else None,
        "findings": [vars(one) for one in look.findings],
    }


def html(look: Look) -> str:
    """Return the page: result, notes, estimated performance, all tests, and pictures of columns."""
    request = look.request
    title = f"{request.model} version {request.version}"
    colour = {"drift": "refused", "none": "passed"}.get(look.status, "quiet")
    body = "\n".join(
        (
            f'<h1>{escape(title)}: <span class="{colour}">{_status(look)}</span></h1>',
            f'<p class="quiet">{request.start:%Y-%m-%d %H:%M} to {request.end:%Y-%m-%d %H:%M} UTC</p>',
            f"<p>{escape(look.summary)}</p>",
            *(f'<p class="quiet">{escape(note)}</p>' for note in look.notes),
            *_performance(look),
            "<h2>Rows by part of the window</h2>",
            _bars([("rows", look.window.by_block / max(1, look.window.by_block.max()), "var(--bar)")]),
            *_tests(look),
            *_pictures(look),
        )
    )
    head = f'<meta charset="utf-8"><title>{escape(title)}: {_status(look)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _status(look: Look) -> str:
    return {"drift": "drift", "none": "no drift"}.get(look.status, look.status)


def _performance(look: Look) -> Iterator[str]:
    if look.estimated:
        one = look.estimated
        yield "<h2>Performance, estimated without labels</h2>"
        beside = f"; the training measured {look.expected[0]:.3f} to {look.expected[1]:.3f}" if look.expected else ""
        yield f"<p>ROC-AUC {one.roc_auc:.3f} ({one.low:.3f} to {one.high:.3f}) from {one.rows:,} rows{beside}</p>"
        yield f'<p class="quiet">Limit: {BLIND}.</p>'


def _tests(look: Look) -> Iterator[str]:
    if not look.findings:
        return
    yield (
        f"<h2>Tests</h2><p class=quiet>A test is drift if its probability, corrected for all {len(look.findings)} "
        f"tests, is at most {look.request.level:.3g}, and its effect is at least the floor.</p><table>"
    )
    yield "<tr><th></th><th>column</th><th>what</th><th>effect (floor)</th><th>probability</th><th>in words</th></tr>"
    for one in look.findings:
        mark = '<td class="refused">drift</td>' if one.is_drift else '<td class="quiet"></td>'
        yield (
            f"<tr>{mark}<td>{escape(one.column or 'all together')}</td><td>{one.kind} ({one.test})</td>"
            f"<td class=number>{one.effect:.3f} ({FLOORS[one.kind]:g})</td><td class=number>{one.adjusted:.2g}</td>"
            f"<td>{escape(one.said)}</td></tr>"
        )
    yield "</table>"


def _pictures(look: Look) -> Iterator[str]:
    drawn = list(dict.fromkeys(one.column for one in look.findings if one.column))[:PICTURES]
    if not drawn:
        return
    yield "<h2>Columns</h2><p class=quiet>Grey: the training. Blue, or red if it drifted: this window.</p>"
    columns = {one.name: (one, look.window.columns[one.name]) for one in look.window.reference.features}
    if look.window.reference.prediction and look.window.prediction:
        columns["prediction"] = (look.window.reference.prediction, look.window.prediction)
    red = {one.column for one in look.drifted}
    for name in drawn:
        if name in columns:
            yield f"<h3>{escape(name)}</h3>{_picture(*columns[name], is_drift=name in red)}"


def _picture(one: Column, counts: Counts, *, is_drift: bool) -> str:
    names, before, now = shares(one, counts)
    largest = max(before.max(), now.max(), 1e-9)
    colour = "var(--bad)" if is_drift else "var(--bar)"
    return _bars([("training", before / largest, "var(--line)"), ("window", now / largest, colour)], names)


def shares(one: Column, counts: Counts) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Return names, shares of the training and shares of the window for at most 20 bins of a column."""
    before: NDArray[np.float64] = one.counts / max(one.rows, 1)
    now: NDArray[np.float64] = counts.bins.sum(axis=0) / max(int(counts.bins.sum()), 1)
    if isinstance(one, Words):
        named = zip([*one.words, "other"], before.tolist(), now.tolist(), strict=True)
        most = sorted(named, key=lambda each: -each[1] - each[2])[:BARS]
        return [name for name, _, _ in most], np.array([each[1] for each in most]), np.array([each[2] for each in most])
    group = np.arange(len(before)) * BARS // max(BARS, len(before))
    names = [_upper(one, int(np.flatnonzero(group == at)[-1])) for at in np.unique(group)]
    return names, np.bincount(group, before).astype("float64"), np.bincount(group, now).astype("float64")


def _upper(one: Numbers, place: int) -> str:
    return f"up to {one.edges[place]:g}" if place < len(one.edges) else f"above {one.edges[-1]:g}"


def _bars(series: Sequence[tuple[str, NDArray[np.float64], str]], names: Sequence[str] = ()) -> str:
    """Draw bars side by side; heights are from 0 to 1."""
    count = len(series[0][1])
    step = WIDTH / count
    width = step * 0.8 / len(series)
    drawn = [
        f'<rect x="{step * place + width * number:.1f}" y="{HEIGHT * (1 - height):.1f}" width="{width:.1f}" '
        f'height="{max(HEIGHT * height, 0.5):.1f}" fill="{colour}"><title>'
        f"{escape(f'{names[place]}, ' if names else '')}{title}: {height:.0%} of the highest bar</title></rect>"
        for number, (title, heights, colour) in enumerate(series)
        for place, height in enumerate(heights.tolist())
    ]
    label = f"{len(series)} rows of bars"
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'
