"""Draws a board from what Prometheus answers to its queries, as a picture.

python docs/board_picture.py http://localhost:9090 BOARD ENDPOINT FILE.png
"""

import sys
import time
from typing import Any

import httpx
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monitoring.boards import BOARDS, Panel, resolved

SECONDS, STEP = 120, 2
"""Length of the shown time, and seconds between two points."""
COLUMNS = 3
"""Panels in one row."""


def main() -> None:
    """Write the picture."""
    url, board, endpoint, file = sys.argv[1:]
    panels = BOARDS[board].panels
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 2.4 * rows), layout="constrained")
    for place, panel in enumerate(panels):
        _draw(figure.add_subplot(rows, COLUMNS, place + 1), panel, url, endpoint)
    figure.savefig(file, dpi=70)


def _draw(axes: Axes, panel: Panel, url: str, endpoint: str) -> None:
    end = time.time()
    axes.set_title(panel.title, fontsize=9)
    axes.tick_params(labelsize=7)
    for query in panel.queries:
        expr = resolved(query.expr, endpoint, "20s")
        asked = {"query": expr, "start": end - SECONDS, "end": end, "step": STEP}
        found: list[Any] = httpx.get(f"{url}/api/v1/query_range", params=asked).json()["data"]["result"]
        for series in found:
            times, values = zip(*[(at - end, float(value)) for at, value in series["values"]], strict=True)
            label = query.legend
            for name, text in series["metric"].items():
                label = label.replace(f"{{{{{name}}}}}", text)
            axes.plot(times, values, label=label, linewidth=1)
    if axes.lines:
        axes.legend(fontsize=6, loc="upper left")


if __name__ == "__main__":
    main()
