"""Declares which numbers a setting may have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Number:
    """The numbers that a setting may have: from `least` or above `above`, up to `most`.

    A class declares those of its own settings in `ranges`, by the names of its arguments; a
    configuration is checked against them before the class is built. `example` is a valid one.
    """

    example: float
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    whole: bool = False
    optional: bool = False

    def accepts(self, value: Any) -> bool:
        """Whether `value` is one of them, or null where that is a choice too."""
        if value is None:
            return self.optional
        kind = int if self.whole else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return self.least <= value <= self.most and value > self.above

    def __str__(self) -> str:
        bounds = (("from", self.least), ("above", self.above), ("up to", self.most))
        given = [f"{word} {bound:.10g}" for word, bound in bounds if math.isfinite(bound)]
        return f"a {'whole ' * self.whole}number {' and '.join(given)}"
