"""Draws points as a picture for papers: quality against each cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_file
from .front import AXES, front_of
from .points import DENSE, label_of_values, varying
from .rows import Row, deviation, is_number, label_of, number, quality

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

SUFFIXES = (".png", ".pdf", ".svg")
COLORS = (
    *("#3567b7", "#d4622a", "#2f9155", "#a13c8f", "#8a6d1d"),
    *("#c02f3f", "#3aa0b5", "#6a5acd", "#777777", "#222222"),
)
_MARKERS = "osD^vPX<>p"  # a star is dense
_FRONT = "Pareto front"


def draw(points: Sequence[Row], path: Path, title: str) -> None:
    """Draw quality against each cost, with standard deviations and the dashed Pareto front.

    Colors tell the first of the columns that vary, shapes the second; lines join the points that
    differ in `rho` alone, and numbers beside the front are its points' `rho`.

    Args:
        points: From `points_of`.
        path: Without a suffix; a png, a pdf and a svg are written.
        title: Above the picture.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    looks = varying(points)
    color, shape = [*looks, [], []][:2]
    colors = dict(zip(_labels(points, color), cycle(COLORS)))
    markers = dict(zip(filter(None, _labels(points, shape)), cycle(_MARKERS)))
    with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):  # text stays text
        figure = Figure(figsize=(15, 5), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, wrap=True)
        panels = figure.subplots(1, len(AXES), sharey=True)
        for panel, (cost, label) in zip(panels, AXES.items(), strict=True):
            for series in _series(points, looks):
                _draw_series(panel, series, cost, colors[label_of_values(series[0], color)])
            for point in points:
                marker = markers.get(label_of_values(point, shape)) or _plain(point)
                _draw_point(panel, point, cost, colors[label_of_values(point, color)], marker)
            best = [points[i] for i in front_of(points, cost)]
            panel.plot([number(p, cost) for p in best], [*map(quality, best)], "k--", linewidth=0.9)
            for point in best:
                _note_rho(panel, point, cost, points)
            panel.set_xlabel(label)
            panel.grid(alpha=0.3)
            panel.margins(0.08)
        panels[0].set_ylabel(label_of(points[0]))
        shown = {label_of_values(p, color): _plain(p) for p in points} if color else {}
        entries = [(label, colors[label], marker) for label, marker in shown.items()]
        handles = _legend([*entries, *((label, "#555555", m) for label, m in markers.items())])
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7))
        for suffix in SUFFIXES:
            with atomic_file(path.with_suffix(suffix)) as partial:
                figure.savefig(partial, dpi=120)


def _labels(points: Sequence[Row], columns: Sequence[str]) -> list[str]:
    return [*dict.fromkeys(label_of_values(point, columns) for point in points)]


def _series(points: Sequence[Row], looks: Sequence[Sequence[str]]) -> list[list[Row]]:
    series: dict[tuple[str, ...], list[Row]] = {}
    for point in points:
        series.setdefault(tuple(label_of_values(point, look) for look in looks), []).append(point)
    return [*series.values()]


def _draw_series(panel: Axes, series: Sequence[Row], cost: str, color: str) -> None:
    line = sorted(series, key=lambda point: number(point, cost))
    panel.plot(
        [number(p, cost) for p in line], [*map(quality, line)], color=color, alpha=0.4, zorder=1
    )


def _draw_point(panel: Axes, point: Row, cost: str, color: str, marker: str) -> None:
    sideways, upwards = (point[name] for name in (deviation(cost), "quality_std"))
    panel.errorbar(
        number(point, cost),
        quality(point),
        xerr=sideways if is_number(sideways) and sideways > 0 else None,
        yerr=upwards if is_number(upwards) and upwards > 0 else None,
        color=color,
        marker=marker,
        markersize=11 if marker == "*" else 7,
        markeredgecolor="white",
        elinewidth=1,
        capsize=2.5,
        zorder=3,
    )


def _note_rho(panel: Axes, point: Row, cost: str, points: Sequence[Row]) -> None:
    if point.get("rho") is None or len({str(one.get("rho")) for one in points}) == 1:
        return
    place = (number(point, cost), quality(point))
    aside = (6, -11) if cost == "gmacs" else (6, 5)  # where the front's line is not
    panel.annotate(
        f"{point['rho']}", place, aside, textcoords="offset points", fontsize=8, zorder=4
    )


def _plain(point: Row) -> str:
    """Return the marker of a point whose shape has no meaning."""
    return "*" if point["method"] == DENSE else "o"


def _legend(entries: Sequence[tuple[str, str, str]]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    shown = [
        Line2D([], [], label=label or "-", color=color, marker=marker, ls="none", markersize=8)
        for label, color, marker in entries
    ]
    return [*shown, Line2D([], [], label=_FRONT, color="black", ls="--")]
