"""Pictures of the dashboards: their panels with the values that a Prometheus has, without Grafana."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any, cast

import matplotlib as mpl
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, PercentFormatter, StrMethodFormatter

from monitoring.boards import Board, Panel, resolved

COLUMNS = 3
PANEL_INCHES = (5, 2.6)
MOST_NAMES = 6
"""Largest number of series whose names a panel shows."""
Range = Callable[[str], Sequence[Mapping[str, Any]]]
"""Function that runs a range query of Prometheus and returns its series, as decoded JSON."""
FORMATS: Mapping[str, Formatter] = {
    "percentunit": PercentFormatter(1),
    "s": EngFormatter("s"),
    "bytes": EngFormatter("B"),
    "reqps": StrMethodFormatter("{x:g}/s"),
    "rowsps": StrMethodFormatter("{x:g}/s"),
}
"""Format of the values, by Grafana's name of the unit; other values are plain numbers."""


def draw(board: Board, endpoint: str, query: Range, window: str, file: Path) -> list[str]:
    """Draw a board into a file, whose ending says the format. Return the titles of the panels that show no value.

    Args:
        board: dashboard.
        endpoint: value of the board's variable.
        query: function that runs a range query.
        window: window of each rate, as in 1m.
        file: file to write.
    """
    rows = math.ceil(len(board.panels) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL_INCHES[0], rows * PANEL_INCHES[1]), layout="constrained")
    cast("Any", figure).suptitle(f"{board.title} {endpoint}" if board.of_endpoint else board.title)
    empty = list[str]()
    for place, panel in enumerate(board.panels, start=1):
        axes = cast("Any", figure).add_subplot(rows, COLUMNS, place)
        axes.set_title(panel.title, fontsize="medium", loc="left")
        lines = [
            line
            for each in panel.queries
            for series in query(resolved(each.expr, endpoint, window))
            if (line := _line(series, each.legend))
        ]
        if not lines:
            empty.append(panel.title)
            axes.set_axis_off()
        elif panel.number:
            _number(axes, panel, lines)
        else:
            _course(axes, panel, lines)
    # Text as text: the file is smaller, and can be searched.
    with cast("Any", mpl).rc_context({"svg.fonttype": "none"}):
        cast("Any", figure).savefig(file)
    return empty


Axes = Any
"""Axes of matplotlib, whose types are partial."""
Line = tuple[str, list[datetime], list[float]]
"""Name of a series, its times and its values."""


def _line(series: Mapping[str, Any], legend: str) -> Line | None:
    """Return the series without the values that are no number; None if nothing remains."""
    points = [(float(at), float(value)) for at, value in series["values"] if math.isfinite(float(value))]
    if not points:
        return None
    name = Template(legend.replace("{{", "${").replace("}}", "}")).safe_substitute(series["metric"])
    return name, [datetime.fromtimestamp(at, UTC) for at, _ in points], [value for _, value in points]


def _course(axes: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    for name, times, values in lines:
        axes.plot(times, values, label=name, marker="." if len(values) == 1 else "")
    lowest, highest = (choose(value for _, _, values in lines for value in values) for choose in (min, max))
    axes.set_ylim(min(0, lowest), 1.4 * highest or 1)  # room for the names
    axes.tick_params(labelsize="small")
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))
    if panel.unit in FORMATS:
        axes.yaxis.set_major_formatter(FORMATS[panel.unit])
    axes.legend(handles=axes.get_lines()[:MOST_NAMES], fontsize="x-small", loc="upper left")


def _number(axes: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    now = max(times[-1] for _, times, _ in lines)
    last = [(name, values[-1]) for name, times, values in lines if times[-1] == now]
    texts = [f"{name}  {timedelta(seconds=int(value)) if panel.unit == 's' else f'{value:g}'}" for name, value in last]
    axes.set_axis_off()
    axes.text(0, 0.5, "\n".join(texts[:MOST_NAMES]), fontsize="large", verticalalignment="center")
