"""Draws the accuracy that each method loses over its speed-up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from textwrap import fill

from ...files import atomic_file
from ...reports.chart import COLORS, SUFFIXES
from ...reports.points import DENSE
from .table import BUDGETS, FrontierRow

_MARKERS = "osD^vPX<>ph"
_TICKS = (-100, -50, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50)


def draw(rows: Sequence[FrontierRow], path: Path, title: str) -> None:
    """Draw the change of top-1 over the speed-up, a line for each method.

    Args:
        rows: Those with a `note` are left out.
        path: Path without a suffix; a png, a pdf and a svg are written.
        title: Text above the picture.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator

    measured = [row for row in rows if row["change"] is not None]
    methods = [*dict.fromkeys(row["method"] for row in measured)]
    with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):  # keeps text as text
        figure = Figure(figsize=(8.5, 5), layout="constrained")
        FigureCanvasAgg(figure)
        panel = figure.subplots()
        for method, color, marker in zip(methods, cycle(COLORS), cycle(_MARKERS)):
            line = [row for row in measured if row["method"] == method]
            line.sort(key=lambda row: row["gmacs"] or 0, reverse=True)
            x, y = [row["speedup"] or 0 for row in line], [row["change"] or 0 for row in line]
            label = f"{method}, rho {line[0]['rho']:g}" if _alone(line) else method
            panel.plot(x, y, color=color, marker=marker, label=label, linewidth=1.2)
        for budget in BUDGETS:
            panel.axhline(-budget, color="#888888", linestyle=":", linewidth=0.9)
        panel.plot([1], [0], "*", color="black", markersize=13, label=DENSE, linestyle="none")
        panel.set_xlabel("times as fast as dense (median of ratios within turns)")
        panel.set_ylabel("change of top-1 (points, the same images; logarithmic beyond 2)")
        panel.set_yscale("symlog", linthresh=2)  # shows half a point and large losses alike
        panel.yaxis.set_major_locator(FixedLocator(_TICKS))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_title(fill(title, 76), fontsize=10)
        panel.grid(alpha=0.3)
        figure.legend(loc="outside right upper", fontsize=9)
        for suffix in SUFFIXES:
            with atomic_file(path.with_suffix(suffix)) as partial:
                figure.savefig(partial, dpi=110)


def _alone(line: Sequence[FrontierRow]) -> bool:
    return len(line) == 1 and line[0]["rho"] is not None
