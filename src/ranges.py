"""Declares which values a setting may have, beside whatever takes the setting."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

from typing_extensions import override


class Allowed(ABC):
    """Defines the values that a setting may have.

    A class declares those of its own settings in `ranges`, by the names of its arguments; a
    function annotates its arguments with them. A configuration is checked against them before
    anything is built. `needed` says whether the setting must be there.
    """

    needed: bool = False

    @abstractmethod
    def fault(self, key: str, value: object) -> str:
        """Return a sentence that refuses `value` for the setting `key`; empty if it is valid."""


@dataclass(frozen=True)
class Number(Allowed):
    """Accepts numbers within bounds; `example` is a valid one.

    They lie from `least` or above `above`, up to `most` or below `below`. `optional` ones may be
    null.
    """

    example: float
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    whole: bool = False
    optional: bool = False

    def accepts(self, value: object) -> bool:
        """Return whether `value` is one of them, or null where that is valid too."""
        if value is None:
            return self.optional
        kind = Integral if self.whole else Real  # NumPy's too
        if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
            return False
        number = float(value)
        return self.least <= number <= self.most and self.above < number < self.below

    @override
    def fault(self, key: str, value: object) -> str:
        if self.accepts(value):
            return ""
        return f"{shown(key, value)} must be {self}, as {self.example:g}."

    def bounds(self) -> str:
        """Return the limits in words, as "above 0 and up to 1"."""
        limits = {"from": self.least, "above": self.above, "up to": self.most, "below": self.below}
        given = [f"{word} {limit:.10g}" for word, limit in limits.items() if math.isfinite(limit)]
        return " and ".join(given)

    def __str__(self) -> str:
        return f"a {'whole ' * self.whole}number {self.bounds()}"


@dataclass(frozen=True)
class Listing(Allowed):
    """Accepts any list; `example` is one as typed on the command line."""

    example: str

    @override
    def fault(self, key: str, value: object) -> str:
        valid = isinstance(value, list)
        return "" if valid else f"{shown(key, value)} must be a list, as {self.example}."


@dataclass(frozen=True)
class Pair(Allowed):
    """Accepts two numbers that suit `each`; `example` is valid as typed on the command line.

    With `ascending` the second may not be smaller. `optional` ones may be null.
    """

    example: str
    each: Number
    ascending: bool = False
    optional: bool = False

    def accepts(self, value: object) -> bool:
        """Return whether `value` is such a pair, or null where that is valid too."""
        if value is None:
            return self.optional
        if not isinstance(value, list) or list(map(self.each.accepts, value)) != [True, True]:
            return False
        return not self.ascending or value[0] <= value[1]

    @override
    def fault(self, key: str, value: object) -> str:
        if self.accepts(value):
            return ""
        order = ", the smaller first" * self.ascending
        words = f"two numbers {self.each.bounds()}{order}, as {self.example}"
        return f"{shown(key, value)} must be {words}."


@dataclass(frozen=True)
class Kind(Allowed):
    """Accepts any value of one type; `words` describe it. `optional` ones may be null."""

    type: type
    words: str
    needed: bool = True
    optional: bool = False

    @override
    def fault(self, key: str, value: object) -> str:
        valid = isinstance(value, self.type) or (self.optional and value is None)
        return "" if valid else f"{shown(key, value)} must be {self.words}."


@dataclass(frozen=True)
class Text(Allowed):
    """Accepts any text, as `example`; `optional` ones may be null.

    What is typed for it arrives as text if `shell.arguments.is_name` knows it by its name.
    """

    example: str
    optional: bool = False

    @override
    def fault(self, key: str, value: object) -> str:
        valid = isinstance(value, str) or (self.optional and value is None)
        return "" if valid else f"{shown(key, value)} must be text, as '{self.example}'."


@dataclass(frozen=True)
class Choice(Allowed):
    """Accepts one of a few words."""

    words: tuple[str, ...]

    @override
    def fault(self, key: str, value: object) -> str:
        *others, last = self.words
        listed = f"{', '.join(others)} or {last}"
        return "" if value in self.words else f"{shown(key, value)} must be {listed}."


@dataclass(frozen=True)
class ExistingFile(Allowed):
    """Accepts a file that exists, null, or the word `instead`; `words` describe the file."""

    words: str
    instead: str | None = None

    @override
    def fault(self, key: str, value: object) -> str:
        if value is None or value == self.instead:
            return ""
        path = Path(str(value)).expanduser()
        return (
            "" if path.is_file() else f"{key}={path} is not a file: give the path of {self.words}."
        )


class Anything(Allowed):
    """Accepts any value: whatever takes the setting checks it later."""

    @override
    def fault(self, key: str, value: object) -> str:
        return ""


class Replaced(NamedTuple):
    """Says that a setting has no effect while the setting at the full key `by` has a value.

    A class declares those of its own settings in `replaced`, by the names of its arguments.
    """

    by: str
    reason: str


def shown(key: str, value: object) -> str:
    """Return a setting as `key=value`, with null as it is typed."""
    return f"{key}={'null' if value is None else value}"
