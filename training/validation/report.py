"""Writes the report of a validation as one self-contained HTML page, without scripts or external files."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from math import isnan

from contract.tasks import better
from training.fit.metrics import Estimate
from training.validation import comparison
from training.validation.comparison import Scores
from training.validation.verdict import Report, Slice, changed

WIDTH, HALF = 260, 130
STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --quiet: #67707e; --line: #d9dee5; --good: #1a7f4b;
        --bad: #c0362c; --bar: #3a6fb0 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --paper: #151a21; --quiet: #98a2b1; --line: #333c48; --good: #4cc38a; --bad: #ff7b6e;
          --bar: #7fb0ea }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
       margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .3rem 0 } .quiet { color: var(--quiet) } .passed { color: var(--good) } .refused { color: var(--bad) }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .35rem .8rem .35rem 0;
       border-bottom: 1px solid var(--line); vertical-align: top } th { font-weight: 600; color: var(--quiet) }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap } svg { display: block }
"""


def html(report: Report) -> str:
    """Return the page: the result, all checks, the metrics and slices next to the champion's, and the limits."""
    title = f"{report.model} version {report.version}"
    body = "\n".join(
        (
            f'<h1>{escape(title)}: <span class="{report.status}">{report.status}</span></h1>',
            f'<p class="quiet">{report.at:%Y-%m-%d %H:%M} UTC, {report.against}</p>',
            *(
                [f'<p class="quiet">rows held out of {escape(report.dataset)}, sha256 {report.dataset_digest[:12]}</p>']
                if report.dataset
                else ()
            ),
            *(f'<p class="refused">{escape(said)}</p>' for said in report.refusals),
            *_checks(report),
            *_scores(report),
            *_slices(report.slices, report.limits.compared),
            *_limits(report),
        )
    )
    head = f'<meta charset="utf-8"><title>{escape(title)}: {report.status}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _checks(report: Report) -> Iterator[str]:
    yield "<h2>Checks</h2><table>"
    for check in report.checks:
        yield (
            f'<tr><td class="{check.outcome}">{check.outcome}</td><td>{escape(check.name)}</td>'
            f"<td>{escape(check.said)}</td></tr>"
        )
    yield "</table>"


def _scores(report: Report) -> Iterator[str]:
    if report.scores is None:
        return
    scores = report.scores
    reach = _reach([scores], [*scores.difference])
    title = {name: better(name, scores.smaller) for name in scores.own}
    yield f"<h2>Metrics on {scores.rows} unseen rows, with 95 % intervals</h2><table>"
    yield "<tr><th>metric</th><th>this version</th><th>champion</th><th>difference</th><th>worse | better</th></tr>"
    for name, own in scores.own.items():
        yield f"<tr><td>{escape(title[name])}</td><td class=number>{own}</td>{_beside(name, scores, reach)}"
    yield "</table>"


def _slices(slices: Sequence[Slice], compared: Sequence[str]) -> Iterator[str]:
    if not slices:
        return
    reach = _reach([one.scores for one in slices], compared)
    yield "<h2>Slices</h2><table>"
    yield (
        "<tr><th>where</th><th>rows (rarer label)</th><th>metric</th><th>this version</th><th>champion</th>"
        "<th>difference</th><th>worse | better</th></tr>"
    )
    for one in slices:
        few = "" if one.judged else ' <span class="quiet">too few to judge</span>'
        for name in compared:
            scores = one.scores
            yield (
                f"<tr><td>{escape(one.name)}</td><td class=number>{scores.rows} ({scores.rarer}){few}</td>"
                f"<td>{escape(better(name, scores.smaller))}</td><td class=number>{scores.own[name]}</td>"
                f"{_beside(name, scores, reach)}"
            )
    yield "</table>"


def _beside(name: str, scores: Scores, reach: float) -> str:
    if name not in scores.difference:
        return '<td class="quiet">none</td><td></td><td></td></tr>'
    change = changed(scores, name)
    return (
        f"<td class=number>{scores.other[name]}</td><td class=number>{change}</td>"
        f"<td>{_interval(comparison.advantage(scores, name), reach, change)}</td></tr>"
    )


def _limits(report: Report) -> Iterator[str]:
    yield "<h2>Limits</h2><table>"
    values = report.limits.model_dump(mode="json")
    for name, field in type(report.limits).model_fields.items():
        value = escape(json.dumps(values[name]), quote=False)
        yield (f"<tr><td>{name}</td><td class=number>{value}</td><td>{escape(field.description or '')}</td></tr>")
    yield "</table>"


def _interval(difference: Estimate, reach: float, change: str) -> str:
    """Draw the interval as a line, the value as a dot and zero as a mark; empty if a bound is not known."""
    places = [
        HALF + HALF * 0.95 * bound / (reach or 1) for bound in (difference.low, difference.value, difference.high)
    ]
    if any(map(isnan, places)):
        return ""
    low, value, high = (f"{place:.1f}" for place in places)
    colour = "var(--bad)" if difference.high < 0 else "var(--good)" if difference.low > 0 else "var(--bar)"
    return (
        f'<svg width="{WIDTH}" height="18" role="img" aria-label="{change}">'
        f'<line x1="{HALF}" x2="{HALF}" y1="0" y2="18" stroke="var(--line)" stroke-width="2"/>'
        f'<line x1="{low}" x2="{high}" y1="9" y2="9" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{value}" cy="9" r="4.5" fill="{colour}"/></svg>'
    )


def _reach(found: Sequence[Scores], names: Sequence[str]) -> float:
    """Return the largest distance of a bound from zero, over all intervals that are drawn below each other."""
    drawn = [comparison.advantage(scores, name) for scores in found for name in names if name in scores.difference]
    return max((abs(bound) for one in drawn for bound in (one.low, one.high) if not isnan(bound)), default=0.0)
