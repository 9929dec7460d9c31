"""Reads what finished runs leave: one row of numbers each, and maps of a few images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULT, MAPS, SETTINGS, FAILURE = "result.json", "maps.json", "settings.json", "failure.txt"
# What a row's task is judged by, in percent, and how it is called.
METRICS = {"acc1": "top-1 (%)", "miou": "mIoU (%)", "box_ap": "box AP (%)"}
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


def metric_of(row: dict[str, Any]) -> str | None:
    """The metric that a row is judged by: of `METRICS`, or what its run was told to monitor."""
    known = next((name for name in METRICS if name in row), None)
    monitored = row.get("monitor")
    return known or (monitored if isinstance(monitored, str) and monitored in row else None)


def metric_label(metric: str) -> str:
    """How a report calls a metric."""
    return METRICS.get(metric, metric)


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
