"""Makes points of runs: seeds are replicates, and a dense network is measured once."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from statistics import fmean, stdev
from types import NoneType

from .cells import FIRST
from .rows import COSTS, Row, deviation, is_number, metrics_of, quality

DENSE = "dense"
SEED = "seed"
# Settings that no dense network has.
_SPARSE = ("rho", "schedule")
_OF_A_RUN = ("cell", "maps", "typed", "settings")
# Of a run's settings, what replicates may differ in.
_OF_REPLICATES = (SEED, "digests")


def points_of(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return one row for each setting: the mean of the runs that differ only in `seed`.

    Runs of the same command line are others where a file of the configuration was changed between
    them.

    Dense runs that differ in `rho` or `schedule` are one network: of each seed the first counts.

    Args:
        rows: From `read_rows`.

    Returns:
        Rows with the means; `n`, the number of runs; for each metric and cost the sample standard
        deviation (by n - 1) as `<name>_std`, None where n is 1; `quality` and `quality_std`, which
        the task is judged by; `seed` and `cell`, those of all runs; `runs`, their rows.
    """
    groups: dict[Hashable, dict[Hashable, Row]] = {}
    for row in rows:
        setting, seed = _setting(row), _seed(row)
        again = 0  # a run of the same seed is no replicate
        while seed in groups.get((setting, again), {}):
            again += 1
        if row["method"] != DENSE or not again:
            groups.setdefault((setting, again), {})[seed] = row
    return [_point([*runs.values()]) for runs in groups.values()]


def _seed(row: Row) -> Hashable:
    seed = row.get(SEED)
    return seed if isinstance(seed, (int, str)) else None


def _setting(row: Row) -> Hashable:
    """Return all of a run's settings but its seed, in a form that can be compared."""
    typed, dense = row["typed"], row["method"] == DENSE
    data = json.dumps(row.get("data"), sort_keys=True)
    chosen = [(name, str(row.get(name))) for name in FIRST if not (dense and name in _SPARSE)]
    if not isinstance(typed, dict):
        return (*chosen, ("cell", str(row["cell"])))
    kept = [
        (key, str(value))
        for key, value in sorted(typed.items())
        if key not in (SEED, *FIRST) and not (dense and key.partition(".")[0] in _SPARSE)
    ]
    settings = row.get("settings")
    composed = [
        (key, json.dumps(value, sort_keys=True))
        for key, value in sorted(settings.items() if isinstance(settings, dict) else ())
        if key not in _OF_REPLICATES and not (dense and key in _SPARSE)
    ]
    return (*chosen, *kept, *composed, data)


def _point(runs: list[Row]) -> dict[str, object]:
    point = {name: _joined(runs, name) for name in runs[0] if name not in _OF_A_RUN}
    if runs[0]["method"] == DENSE:
        point |= {name: None for name in point if name.partition(".")[0] in _SPARSE}
    for name in (*metrics_of(runs[0]), *COSTS):
        values = [run.get(name) for run in runs]
        numbers = [value for value in values if is_number(value)]
        several = len(numbers) > 1 and len(numbers) == len(values)
        point[deviation(name)] = stdev(numbers) if several else None
    qualities = [quality(run) for run in runs]
    point["quality"] = fmean(qualities)
    point["quality_std"] = stdev(qualities) if len(qualities) > 1 else None
    cells = "; ".join(str(run["cell"]) for run in runs)
    return {**point, "n": len(runs), "cell": cells, "runs": runs}


def _joined(runs: Sequence[Row], name: str) -> object:
    """Return the value that runs share, the mean of their numbers, or their texts in a row.

    The mean is None where one of the numbers is undefined, as a NaN is.
    """
    values = [run.get(name) for run in runs]
    if all(value == values[0] for value in values):
        return values[0]
    if name != SEED and all(type(value) in (int, float, NoneType) for value in values):
        numbers = [value for value in values if is_number(value)]
        return fmean(numbers) if len(numbers) == len(values) else None
    return ", ".join(str(value) for value in values)


def varying(points: Sequence[Row]) -> list[list[str]]:
    """Return the columns in which points differ, `rho` apart; those that go together as one.

    Method and backbone come first, then what a sweep varies. Columns go together where the values
    of one tell those of the other, dense networks apart, as each kind of backbone has its method.
    """
    swept = points[0]["swept"]
    assert isinstance(swept, list)
    groups: list[list[str]] = []
    patterns: list[list[int]] = []
    sparse = [point for point in points if point["method"] != DENSE]
    for name in dict.fromkeys(("method", "backbone", *swept)):
        if len({str(point.get(name)) for point in points}) == 1:
            continue
        values = [str(point.get(name)) for point in sparse]
        pattern = [values.index(value) for value in values]
        if pattern in patterns:
            groups[patterns.index(pattern)].append(name)
        else:
            groups.append([name])
            patterns.append(pattern)
    return groups


def label_of_values(point: Row, columns: Sequence[str]) -> str:
    """Return the values of `columns` as a legend shows them."""
    values = [point.get(name) for name in columns]
    return ", ".join(str(value) for value in values if value is not None)
