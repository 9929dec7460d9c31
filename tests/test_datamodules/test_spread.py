"""Items that stand for a data set are spread over all of it."""

from __future__ import annotations

import pytest

from src.datamodules.spread import spread_evenly


@pytest.mark.parametrize(
    ("length", "count", "numbers"),
    [
        (6, 3, [0, 2, 4]),
        (10, 4, [0, 2, 5, 7]),
        (9, 6, [0, 1, 3, 4, 6, 7]),  # from the last third too
        (3, 8, [0, 1, 2]),
        (0, 5, []),
        (5, 0, []),
    ],
)
def test_numbers_are_spread_over_the_length(length: int, count: int, numbers: list[int]) -> None:
    assert spread_evenly(length, count) == numbers
