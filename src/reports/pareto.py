"""A sweep's cells as a table, a picture and a page: accuracy against what it costs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import some
from ..shell.arguments import parsed
from .rows import RESULT, label_of, metric_of, metrics_of, read_maps, read_row
from .tables import write_csv

log = logging.getLogger(__name__)

# Columns of the csv before and after what a sweep varies and what its task measures.
_FIRST = ("backbone", "method", "rho")
_LAST = (
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
# The last compares cells on a noisy machine: each one's speed beside dense, timed in turns.
AXES = {"gmacs": "GMACs", "images_per_s": "images/s", "speedup": "times as fast as dense"}


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The finished cells under `folder`, by name, each with its maps and what the sweep varies.

    Cells whose results cannot be read are left out and named in one warning.
    """
    rows, typed, broken = [], [], []
    for path in sorted(folder.glob(f"**/{RESULT}")):
        row, name = read_row(path.parent), str(path.parent.relative_to(folder))
        if row is None:
            broken.append(name)
            continue
        rows.append({**row, "cell": name, "maps": read_maps(path.parent)})
        typed.append(_overrides(path.parent / ".hydra" / "overrides.yaml"))
    if broken:
        log.warning(
            f"The report leaves out {some(broken)}: {RESULT} there lacks a number for a metric or "
            "a cost, so give the sweep's command again to do what is missing."
        )
    varied = {key for one in typed for key in one if any(o.get(key) != one[key] for o in typed)}
    for row, one in zip(rows, typed, strict=True):
        row |= {key: one[key] for key in sorted(varied & one.keys()) if key not in row}
        row["swept"] = sorted(varied - {*_FIRST, *_LAST})
    return rows


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the columns of a report: choices, what the sweep varies, metrics, costs."""
    metrics = dict.fromkeys(name for row in rows for name in metrics_of(row))
    return [*dict.fromkeys((*_FIRST, *rows[0]["swept"], *metrics, *_LAST))]


def _overrides(file: Path) -> dict[str, Any]:
    """What a cell's command line set, as numbers and text; nothing where its file is damaged."""
    try:
        words = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException):
        return {}
    listed = words if isinstance(words, list) else []
    found = [parsed(word) for word in listed if isinstance(word, str)]
    values = {one.key_or_group: one.value() for one in found if one and not one.is_delete()}
    return {
        key: value if isinstance(value, (int, float, str)) else str(value or "null")
        for key, value in values.items()
    }


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
    columns = columns_of(rows)
    plain = [{key: _as_text(value) for key, value in row.items()} for row in rows]
    write_csv(plain, folder / "pareto.csv", columns)
    draw(rows, folder / "pareto.png")
    page = (Path(__file__).parent / "page.html").read_text()
    metric = metric_of(rows[0])
    data = {
        "title": folder.name,
        "rows": rows,
        "columns": columns,
        "axes": AXES,
        "metric": metric,
        "metric_label": label_of(rows[0]),
    }
    text = json.dumps(data).replace("<", "\\u003c")  # no text may end or begin a script
    report = folder / "report.html"
    report.write_text(page.replace("/*DATA*/null", text))
    return report


def _as_text(value: Any) -> Any:
    """`value`, where it is text such that no spreadsheet takes it for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in set("=+-@\t\r") else value


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
    panels[0].set_ylabel(label_of(rows[0]))
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)
