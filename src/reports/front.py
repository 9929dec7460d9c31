"""Finds the Pareto front: the points that no other beats in quality and cost."""

from __future__ import annotations

from collections.abc import Sequence

from .rows import Row, number, quality

# What a point costs and the label of its axis; the last two are better where they are greater.
AXES = {
    "gmacs": "GMACs",
    "images_per_s": "images/s",
    "speedup": "speedup over dense (median of ratios)",
}


def front(rows: Sequence[Row], cost: str, less_is_better: bool) -> list[int]:
    """Return the indices of the rows that no other beats in quality and `cost`, cheapest first.

    Rows that are equal in both are on the front together.
    """
    sign = 1 if less_is_better else -1
    costs = [sign * number(row, cost) for row in rows]
    qualities = [quality(row) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (costs[i], -qualities[i]))
    chosen: list[int] = []
    for i in order:
        best = chosen[-1] if chosen else i
        same = (costs[i], qualities[i]) == (costs[best], qualities[best])
        if same or qualities[i] > qualities[best]:
            chosen.append(i)
    return chosen


def front_of(rows: Sequence[Row], cost: str) -> list[int]:
    """Return the front against one of `AXES`."""
    return front(rows, cost, less_is_better=cost == "gmacs")
