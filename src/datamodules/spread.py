"""Chooses some items of a data set without reading any."""

from __future__ import annotations


def spread_evenly(length: int, count: int) -> list[int]:
    """Return the numbers of `count` of `length` items in order, spread evenly; all if fewer."""
    count = min(count, length)
    return [number * length // count for number in range(count)]
