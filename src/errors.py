"""Defines the one exception that means "your input is wrong", and how its sentences read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence


class InputError(ValueError):
    """A setting, file or image that cannot be used.

    Its message is one sentence that names the thing, the value and what would be valid; several
    faults that were found together have one each.
    """

    @property
    def sentences(self) -> list[str]:
        """One for each fault."""
        # A DataLoader worker prefixes the message with its own traceback.
        parts = (str(part).rsplit("InputError: ", 1)[-1] for part in self.args)
        return [printable(" ".join(part.split())) for part in parts]

    def __str__(self) -> str:
        return " ".join(map(str, self.args))


def one_sentence(text: str) -> str:
    """A library's message as one line and one sentence, without its web addresses."""
    text = re.sub(r"\s*See https?://\S+.*", "", text, flags=re.DOTALL)
    lines = [line.strip().rstrip(".!") for line in text.strip().splitlines() if line.strip()]
    line = re.sub(r"[.!?]\s+(?=[A-Z`'])", "; ", "; ".join(lines))
    return re.sub(r"([:,;]); ", r"\1 ", line) + "."


def printable(text: str) -> str:
    """Return `text` with what a terminal would obey, or could not show, as its escape."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def spelled(name: str) -> str:
    """Return a name so that it does not look like another one whose accents are composed."""
    return name if unicodedata.is_normalized("NFC", name) else ascii(name)[1:-1]


def some(names: Sequence[str], most: int = 4) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
