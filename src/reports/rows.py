"""Reads what finished runs leave: one row of numbers each, and maps of a few images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULT, MAPS, SETTINGS, FAILURE = "result.json", "maps.json", "settings.json", "failure.txt"
_UNNAMED = ("acc1", "miou", "box_ap")  # metrics of rows that were written without a `task`
# What every report needs of a row, as numbers.
COSTS = ("gmacs", "images_per_s", "speedup")
_HUGE = 1e300


def read_row(folder: Path) -> dict[str, Any] | None:
    """The row of a finished job, or None."""
    row = read_json(folder / RESULT)
    if not isinstance(row, dict) or not isinstance(row.get("method"), str):
        return None
    metric = metric_of(row)
    numbers = [row.get(name) for name in (metric, *COSTS) if name]
    return row if metric and all(map(_is_number, numbers)) else None


def _is_number(value: Any) -> bool:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool)
    return whole and -_HUGE < value < _HUGE


def task_entry(metric: str, label: str, metrics: Sequence[str]) -> dict[str, Any]:
    """Return what a row says of its task, under `task`.

    Args:
        metric: The one of `metrics` that the row is judged by, in percent.
        label: Of its axis.
        metrics: All that the task has measured.
    """
    return {"metric": metric, "label": label, "metrics": [*metrics]}


def metric_of(row: Mapping[str, Any]) -> str | None:
    """Return the name of the metric that a row is judged by: its task's, or its run's monitor."""
    names = (_task(row).get("metric"), row.get("monitor"), *_UNNAMED)
    return next((name for name in names if isinstance(name, str) and name in row), None)


def label_of(row: Mapping[str, Any]) -> str:
    """Return the label of that metric's axis."""
    label = _task(row).get("label")
    return label if isinstance(label, str) else str(metric_of(row))


def metrics_of(row: Mapping[str, Any]) -> list[str]:
    """Return the names of all metrics of a row, the one that it is judged by among them."""
    names = _task(row).get("metrics")
    listed = names if isinstance(names, list) else [metric_of(row)]
    return [name for name in listed if isinstance(name, str) and name in row]


def _task(row: Mapping[str, Any]) -> dict[str, Any]:
    task = row.get("task")
    return task if isinstance(task, dict) else {}


def read_maps(folder: Path) -> dict[str, Any] | None:
    """What the job left of a few images, or None."""
    maps = read_json(folder / MAPS)
    parts = ("images", "locations", "decisions")
    whole = isinstance(maps, dict) and all(isinstance(maps.get(part), list) for part in parts)
    return maps if whole else None


def read_json(path: Path) -> Any:
    """Return what a json file holds, or None where there is no whole one."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):  # none, half of one, or none of ours
        return None
