"""Writes the results of a comparison: tables, a picture and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...files import atomic_file
from ...reports.pareto import PAGE, write_report
from ...reports.points import DENSE
from ...reports.rows import RESULT, task_entry
from ...reports.tables import write_csv, write_markdown
from ..report import environment, show
from .picture import draw
from .plan import cell_name
from .table import COLUMNS, FrontierRow, best_for_readers, for_readers, mark_best

# Columns that fit a terminal; the files have all.
_PRINTED = ("method", "rho", "acc1", "change", "speedup", "efficiency", "best_at")
_BEST_PRINTED = ("loses at most", "method", "rho", "change", "speedup", "efficiency", "latency_ms")
_METRICS = ("acc1", "change", "low", "high", "agreement", "efficiency", "latency_ms", "memory_mb")


@dataclass(frozen=True)
class Setting:
    """Holds the circumstances of a comparison.

    Attributes:
        backbone: Its name in `conf/backbone`.
        images: Number of images that were evaluated.
        batch: Number of images in a timed batch.
        precision: Such as fp32.
        device: Device on which networks were timed.
        turns: Number of turns of the timing.
    """

    backbone: str
    images: int
    batch: int
    precision: str
    device: torch.device
    turns: int

    def __str__(self) -> str:
        """Return them as a phrase for titles and notes."""
        where = environment(self.device)
        threads = f", {where['threads']} CPU threads" if self.device.type == "cpu" else ""
        return (
            f"{self.backbone}, {self.images} images, {self.precision}, batch {self.batch}, "
            f"{self.turns} turns, {where['device']}{threads}, torch {where['torch']}"
        )


def write_all(rows: Sequence[FrontierRow], folder: Path, setting: Setting) -> None:
    """Print the tables; write `frontier.csv`, `.md`, `.png`, `.pdf`, `.svg`, `best.md`, the page.

    Args:
        rows: One for the dense network (the first) and for each student.
        folder: Has a folder `cells` with one for each student.
        setting: The circumstances.
    """
    best = mark_best(rows)
    where = environment(setting.device)
    notes = [
        f"{setting}.",
        "change: points of top-1 over the dense network on the same images, with its 95 % interval "
        "(Newcombe 1998, method 10). agreement: percent of images with dense's class. speedup: "
        "times as fast as dense, the median of the ratios within turns; speedup_1 and latency_ms "
        "are of one image alone. efficiency: speedup over the ratio of GMACs. memory_mb: peak of a "
        "batch, beyond weights and images.",
        "best_at: the setting of fewest GMACs, among those tried, whose measured change is a loss "
        "of no more than 0.5 or 1 points; intervals do not count, and nothing is interpolated.",
    ]
    table, chosen = for_readers(rows), best_for_readers(best)
    write_csv([{**row} for row in rows], folder / "frontier.csv", list(COLUMNS))
    write_markdown(table, folder / "frontier.md", list(table[0]), notes)
    show(table, [name for name in _PRINTED if name in table[0]])
    for row in rows:
        if row["note"]:
            print(f"{cell_name(row['method'], row['rho'])}: {row['note']}")
    remarks = []
    if chosen:
        columns = list(dict.fromkeys(name for row in chosen for name in row))
        chosen = [{**dict.fromkeys(columns, ""), **row} for row in chosen]
        columns = [name for name in columns if any(row[name] for row in chosen)]
        write_markdown(chosen, folder / "best.md", columns, notes[:1])
        show(chosen, [name for name in _BEST_PRINTED if name in columns])
        remarks = [*notes, *_sentences(best)]
    (folder / "environment.json").write_text(json.dumps(where, indent=2) + "\n")
    title = f"What is lost for what speed: {setting}"
    draw(rows, folder / "frontier", title)
    _write_cells(rows, folder, setting)
    write_report(folder / "cells", title, remarks)
    print(f"Table: {folder / 'frontier.csv'}, picture: {folder / 'frontier.png'}")
    print(f"Page: {folder / 'cells' / PAGE}")


def _sentences(best: Mapping[tuple[str, float], FrontierRow | None]) -> list[str]:
    sentences = []
    for budget in dict.fromkeys(budget for _, budget in best):
        parts = []
        for method in dict.fromkeys(method for method, _ in best):
            row = best[method, budget]
            if row is None:
                parts.append(f"{method} none")
            else:
                rho = "" if row["rho"] is None else f" at rho={row['rho']:g}"
                parts.append(f"{method}{rho} {row['speedup']:.2f} times dense")
        sentences.append(f"At most {budget:g} points lost: {'; '.join(parts)}.")
    return sentences


def _write_cells(rows: Sequence[FrontierRow], folder: Path, setting: Setting) -> None:
    """Write each row where a report looks for it, and remove those of an earlier comparison."""
    where = environment(setting.device)
    for old in (folder / "cells").glob(f"*/{RESULT}"):
        old.unlink()
    dense = next(row for row in rows if row["method"] == DENSE)
    for row in rows:
        if row["note"]:
            continue
        name = cell_name(row["method"], row["rho"])
        metrics = {key: value for key, value in row.items() if key in _METRICS}
        shown = [key for key, value in metrics.items() if value is not None]
        result = {
            "backbone": setting.backbone,
            "method": row["method"],
            "rho": row["rho"],
            **metrics,
            "task": task_entry("acc1", "top-1 (%)", shown),
            "gmacs": row["gmacs"],
            "gmacs_share": 1 / (row["mac_ratio"] or 1),
            "images_per_s": row["images_per_s"],
            "images_per_s_dense": dense["images_per_s"],
            "speedup": row["speedup"],
            "batch_size": setting.batch,
            "device": where["device"] if where["cuda"] else "cpu",
            "precision": setting.precision,
            "threads": where["threads"],
            "torch": where["torch"],
        }
        with atomic_file(folder / "cells" / name / RESULT) as partial:
            partial.write_text(json.dumps(result, indent=2) + "\n")
