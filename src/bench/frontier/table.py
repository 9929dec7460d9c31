"""Makes rows of the measurements, and finds the settings that lose no more than some points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ...reports.compare import Comparison
from ...reports.points import DENSE
from .timing import Timing

BUDGETS = (0.5, 1.0)  # points of top-1 that a setting may lose
# Formats of the numbers in printed columns.
_FORMATS = {
    "acc1": "{:.1f}",
    "agreement": "{:.1f}",
    "gmacs": "{:.3f}",
    "speedup": "{:.2f}",
    "efficiency": "{:.2f}",
    "speedup_1": "{:.2f}",
    "latency_ms": "{:.3g}",
    "memory_mb": "{:.3g}",
    "speedup_compiled": "{:.2f}",
}


class FrontierRow(TypedDict, total=False):
    """Holds the comparison of one student with the dense network.

    Attributes:
        rho: Base keep ratio, None where the method ignores it.
        acc1: Top-1 in percent.
        change: Points of top-1 that it gains over dense, on the same images; `low` and `high` are
            the ends of the 95 % interval, `p_value` is that of McNemar's exact test.
        agreement: Percent of images to which it gives the same class as dense.
        gmacs: GMACs of an image.
        mac_ratio: GMACs of the dense network over the student's.
        images_per_s: Median of the turns, in batches.
        speedup: Median of the turns' ratios to dense, in batches; `speedup_least` and
            `speedup_most` are those of single turns, `speedup_1` is for one image at a time.
        efficiency: `speedup` over `mac_ratio`.
        latency_ms: Milliseconds for one image alone.
        memory_mb: Peak memory of a batch, in megabytes.
        speedup_compiled: As `speedup`, with both networks compiled.
        best_at: The `BUDGETS` within which it is the cheapest setting of its method.
        note: Why there are no numbers.
    """

    method: str
    rho: float | None
    acc1: float | None
    change: float | None
    low: float | None
    high: float | None
    p_value: float | None
    agreement: float | None
    gmacs: float | None
    mac_ratio: float | None
    images_per_s: float | None
    speedup: float | None
    speedup_least: float | None
    speedup_most: float | None
    efficiency: float | None
    speedup_1: float | None
    latency_ms: float | None
    memory_mb: float | None
    speedup_compiled: float | None
    best_at: str
    note: str


COLUMNS = tuple(FrontierRow.__annotations__)


def measured_row(
    method: str,
    rho: float | None,
    against: Comparison,
    agreement: float,
    gmacs: tuple[float, float],
    timing: tuple[Timing, Timing],
    compiled: float | None = None,
) -> FrontierRow:
    """Return the row of a student.

    Args:
        method: Its name.
        rho: Its base keep ratio.
        against: The comparison of its predictions with those of the dense network.
        agreement: Percent of images to which both give the same class.
        gmacs: Its GMACs and those of the dense network.
        timing: Its timing and that of the dense network, from the same turns.
        compiled: Its speed-up over dense when both are compiled.
    """
    low, high = against.interval
    own, dense = timing
    speedup, least, most = own.many.over(dense.many)
    ratio = gmacs[1] / gmacs[0]
    is_dense = method == DENSE
    return {
        "method": method,
        "rho": rho,
        "acc1": against.accuracies[0],
        "change": None if is_dense else against.difference,
        "low": None if is_dense else low,
        "high": None if is_dense else high,
        "p_value": None if is_dense else against.p_value,
        "agreement": agreement,
        "gmacs": gmacs[0],
        "mac_ratio": ratio,
        "images_per_s": own.many.images_per_s,
        "speedup": speedup,
        "speedup_least": least,
        "speedup_most": most,
        "efficiency": speedup / ratio,
        "speedup_1": own.single.over(dense.single)[0],
        "latency_ms": 1000 / own.single.images_per_s,
        "memory_mb": own.memory_mb,
        "speedup_compiled": compiled,
        "best_at": "",
        "note": "",
    }


def failed_row(method: str, rho: float | None, sentence: str) -> FrontierRow:
    """Return the row of a student that could not be measured."""
    empty: FrontierRow = dict.fromkeys(COLUMNS)  # type: ignore[assignment]
    return {**empty, "method": method, "rho": rho, "best_at": "", "note": sentence}


def mark_best(rows: Sequence[FrontierRow]) -> dict[tuple[str, float], FrontierRow | None]:
    """Find for each method and budget the row of fewest GMACs that loses no more points.

    It marks these rows by `best_at`. Only settings that were tried count, by their `change` as
    measured, whatever its interval.

    Returns:
        Rows by method and budget; None where no setting of the method meets the budget.
    """
    best: dict[tuple[str, float], FrontierRow | None] = {}
    for method in dict.fromkeys(row["method"] for row in rows if row["method"] != DENSE):
        measured = [row for row in rows if row["method"] == method and not row["note"]]
        for budget in BUDGETS if measured else ():
            meeting = [row for row in measured if (row["change"] or 0) >= -budget - 1e-9]
            found = min(meeting, key=lambda row: row["gmacs"] or 0, default=None)
            if found:
                found["best_at"] += f"{', ' if found['best_at'] else ''}{budget:g}"
            best[method, budget] = found
    return best


def best_for_readers(
    best: Mapping[tuple[str, float], FrontierRow | None],
) -> list[dict[str, object]]:
    """Return the result of `mark_best` as rows of text, the fastest first."""
    order = sorted(best, key=lambda key: (key[1], -_speedup(best[key])))
    return [
        {"loses at most": f"{budget:g}", "method": method, "rho": "none"}
        | ({k: v for k, v in _texts(found).items() if k not in ("method", "best_at")})
        if (found := best[method, budget])
        else {"loses at most": f"{budget:g}", "method": method, "rho": "none"}
        for method, budget in order
    ]


def for_readers(rows: Sequence[FrontierRow]) -> list[dict[str, object]]:
    """Return `rows` as text, the change with its interval, without empty columns."""
    texts = [_texts(row) for row in rows]
    used = [name for name in texts[0] if any(row[name] for row in texts)]
    return [{name: row[name] for name in used} for row in texts]


def _speedup(row: FrontierRow | None) -> float:
    return (row["speedup"] or 0.0) if row else 0.0


def _texts(row: FrontierRow) -> dict[str, object]:
    values: Mapping[str, object] = {**row}
    shown = {
        name: "" if values[name] is None else form.format(values[name])
        for name, form in _FORMATS.items()
    }
    change = ""
    if row["change"] is not None:
        change = "{change:+.1f} ({low:+.1f} to {high:+.1f})".format_map(row)
    return {
        "method": row["method"],
        "rho": "" if row["rho"] is None else f"{row['rho']:g}",
        "acc1": shown.pop("acc1"),
        "change": change,
        **shown,
        "best_at": row["best_at"],
        "note": row["note"],
    }
