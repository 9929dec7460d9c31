"""A sweep's cells as a table, a picture and a page: accuracy against what it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..evaluation import write_csv
from .cell import METRICS, RESULT, metric_of, read_maps, read_row

# Columns of the csv, and of the page's table as far as they are filled.
COLUMNS = (
    "backbone",
    "method",
    "rho",
    "acc1",
    "acc1_present",
    "acc5",
    "miou",
    "pixel_acc",
    "box_ap",
    "box_ap50",
    "mask_ap",
    "mask_ap50",
    "gmacs",
    "gmacs_share",
    "images_per_s",
    "speedup",
    "whole_gmacs",
    "whole_gmacs_share",
    "whole_images_per_s",
    "whole_speedup",
    "params_m",
    "batch_size",
    "device",
    "threads",
    "torch",
    "seed",
    "cell",
)
# The last is what a noisy machine leaves to compare: each cell's speed beside dense in its turns.
AXES = {"gmacs": "GMACs", "images_per_s": "images/s", "speedup": "times as fast as dense"}


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The finished cells under `folder`, by name, each with its maps."""
    rows = []
    for path in sorted(folder.glob(f"**/{RESULT}")):
        row = read_row(path.parent)
        if row:
            name = str(path.parent.relative_to(folder))
            rows.append({**row, "cell": name, "maps": read_maps(path.parent)})
    return rows


def front(rows: Sequence[dict[str, Any]], cost: str, less_is_better: bool) -> list[int]:
    """Indices of the rows that no other beats in both quality and `cost`, cheapest first."""
    sign = 1 if less_is_better else -1
    order = sorted(range(len(rows)), key=lambda i: (sign * rows[i][cost], -quality(rows[i])))
    best, chosen = float("-inf"), []
    for i in order:
        if quality(rows[i]) > best:
            best = quality(rows[i])
            chosen.append(i)
    return chosen


def quality(row: dict[str, Any]) -> float:
    """What the row's task is judged by, in percent."""
    metric = metric_of(row)
    assert metric
    return float(row[metric])


def write_report(folder: Path) -> Path | None:
    """Write `pareto.csv`, `pareto.png` and `report.html`; None where no cell has finished."""
    rows = read_rows(folder)
    if not rows:
        return None
    for row in rows:
        row["on_front"] = {}
        row["quality"] = quality(row)
    for cost in AXES:
        for i in front(rows, cost, less_is_better=cost == "gmacs"):
            rows[i]["on_front"][cost] = True
    write_csv(rows, folder / "pareto.csv", COLUMNS)
    draw(rows, folder / "pareto.png")
    page = (Path(__file__).parent / "page.html").read_text()
    metric = metric_of(rows[0])
    data = {
        "title": folder.name,
        "rows": rows,
        "columns": COLUMNS,
        "axes": AXES,
        "metric": metric,
        "metric_label": METRICS[str(metric)],
    }
    text = json.dumps(data).replace("</", "<\\/")  # no text may end the script
    report = folder / "report.html"
    report.write_text(page.replace("/*DATA*/null", text))
    return report


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Quality against GMACs and against speed, a color for each method, the front dashed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(AXES), sharey=True)
    for panel, (cost, label) in zip(panels, AXES.items(), strict=True):
        for method in dict.fromkeys(row["method"] for row in rows):
            mine = sorted((r for r in rows if r["method"] == method), key=lambda r: r[cost])
            marker = "*" if method == "dense" else "o"
            panel.plot(
                [r[cost] for r in mine], list(map(quality, mine)), marker=marker, label=method
            )
        best = front(rows, cost, less_is_better=cost == "gmacs")
        panel.plot(
            [rows[i][cost] for i in best], [quality(rows[i]) for i in best], "k--", linewidth=0.8
        )
        panel.set_xlabel(label)
    panels[0].set_ylabel(METRICS[str(metric_of(rows[0]))])
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)
