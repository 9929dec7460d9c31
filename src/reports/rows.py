"""Reads what finished runs leave: one row of numbers each, and maps of a few images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeGuard

Row: TypeAlias = Mapping[str, object]  # as json holds it

RESULT, MAPS, SETTINGS, FAILURE = "result.json", "maps.json", "settings.json", "failure.txt"
_UNNAMED = ("acc1", "miou", "box_ap")  # metrics of rows that were written without a `task`
# What every report needs of a row, as numbers.
COSTS = ("gmacs", "images_per_s", "speedup")
_HUGE = 1e300


def read_row(folder: Path) -> dict[str, object] | None:
    """Return the row of a finished job, or None where it is missing or lacks a number."""
    row = read_json(folder / RESULT)
    if not isinstance(row, dict) or not isinstance(row.get("method"), str):
        return None
    metric = metric_of(row)
    numbers = [row.get(name) for name in (metric, *COSTS) if name]
    return row if metric and all(map(is_number, numbers)) else None


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number; `True` and `False` are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -_HUGE < value < _HUGE


def number(row: Row, name: str) -> float:
    """Return the number `name` of a row that `read_row` has checked."""
    value = row[name]
    assert is_number(value), name
    return value


def deviation(name: str) -> str:
    """Return the name of the column that holds the standard deviation of column `name`."""
    return f"{name}_std"


def quality(row: Row) -> float:
    """Return what a row's task is judged by, in percent."""
    metric = metric_of(row)
    assert metric
    return number(row, metric)


def task_entry(metric: str, label: str, metrics: Sequence[str]) -> dict[str, object]:
    """Return what a row says of its task, under `task`.

    Args:
        metric: The one of `metrics` that the row is judged by, in percent.
        label: Of its axis.
        metrics: All that the task has measured.
    """
    return {"metric": metric, "label": label, "metrics": [*metrics]}


def data_entry(datamodule: Mapping[str, object]) -> dict[str, object]:
    """Return what a row says of its data, under `data`: class and folder, in full.

    Args:
        datamodule: As in `conf/datamodule`, resolved.
    """
    entry = {key: datamodule[key] for key in ("_target_", "root") if key in datamodule}
    root = entry.get("root")
    if isinstance(root, str) and "://" not in root:
        entry["root"] = os.path.abspath(os.path.expanduser(root))
    return entry


def metric_of(row: Row) -> str | None:
    """Return the name of the metric that a row is judged by: its task's, or its run's monitor."""
    names = (_task(row).get("metric"), row.get("monitor"), *_UNNAMED)
    return next((name for name in names if isinstance(name, str) and name in row), None)


def label_of(row: Row) -> str:
    """Return the label of that metric's axis."""
    label = _task(row).get("label")
    return label if isinstance(label, str) else str(metric_of(row))


def metrics_of(row: Row) -> list[str]:
    """Return the names of all metrics of a row, the one that it is judged by among them."""
    names = _task(row).get("metrics")
    listed = names if isinstance(names, list) else [metric_of(row)]
    return [name for name in listed if isinstance(name, str) and name in row]


def _task(row: Row) -> dict[str, object]:
    task = row.get("task")
    return task if isinstance(task, dict) else {}


def read_maps(folder: Path) -> dict[str, object] | None:
    """Return what a job left of a few images, as `survivor_maps` describes it, or None."""
    maps = read_json(folder / MAPS)
    parts = ("images", "locations", "decisions")
    if not isinstance(maps, dict) or not all(isinstance(maps.get(part), list) for part in parts):
        return None
    return maps


def read_json(path: Path) -> object:
    """Return what a json file holds, or None where it is missing or damaged."""
    try:
        content: object = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):  # none, half of one, or none of ours
        return None
    return content
