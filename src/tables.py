"""Rows of text that any program may open."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import IO, Any

from .errors import printable

_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # what a spreadsheet computes, wide forms too


class TableWriter:
    r"""Writes csv in which a name stays a name.

    What begins as a spreadsheet's formula gets a `'` in front, and what cannot be printed is
    written as its escape, as `\x1b`. Numbers stay as they are.
    """

    def __init__(self, file: IO[str]) -> None:
        """Write to `file`, opened with `newline=""`."""
        self._writer = csv.writer(file)

    def write(self, row: Iterable[Any]) -> None:
        """Write one row."""
        self._writer.writerow([plain(cell) if isinstance(cell, str) else cell for cell in row])


def plain(text: str) -> str:
    """Return `text` as a spreadsheet shows it and does not compute it."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
