"""Shows rows on the terminal and writes them as csv that any program may open."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.table import Table

from ..errors import printable
from ..files import atomic_file
from .rows import Row, deviation

_LABELS = {"speedup": "speedup (median of turns)", "whole_speedup": "whole_speedup (same)"}
_WIDEST = 1000  # characters of a line in a file
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # what a spreadsheet computes, wide forms too


class TableWriter:
    r"""Writes csv in which a name stays a name.

    What begins as a spreadsheet's formula gets a `'` in front, and what cannot be printed is
    written as its escape, as `\x1b`. Numbers stay as they are.
    """

    def __init__(self, file: IO[str]) -> None:
        """Write to `file`, opened with `newline=""`."""
        self._writer = csv.writer(file)

    def write(self, row: Iterable[object]) -> None:
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


def print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Show `rows` side by side on the terminal, one line for each of `columns`."""
    table = Table(show_header=False)
    table.add_column()
    for _ in rows:
        table.add_column(justify="right")
    for column in columns:
        table.add_row(_LABELS.get(column, column), *(_shown(row.get(column)) for row in rows))
    print_unfolded(table)


def print_unfolded(*tables: Table) -> None:
    """Print tables: folded to the width of a terminal, as wide as they are to a file or a pipe."""
    console = Console() if sys.stdout.isatty() else Console(width=_WIDEST)
    for table in tables:
        console.print(table)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_markdown(
    rows: Sequence[Row], path: Path, columns: Sequence[str], notes: Sequence[str]
) -> None:
    """Write `columns` of `rows` as a markdown table with `notes` below it.

    Columns without values are left out; a standard deviation above 0 is written beside its mean.
    """
    shown = [name for name in columns if any(row.get(name) is not None for row in rows)]
    lines = [[_markdown(_LABELS.get(name, name)) for name in shown], ["---"] * len(shown)]
    for row in rows:
        spreads = [row.get(deviation(name)) for name in shown]
        lines.append(
            [
                _markdown(_shown(row.get(name)) + (f" ± {spread:.2g}" if spread else ""))
                for name, spread in zip(shown, spreads, strict=True)
            ]
        )
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    with atomic_file(path) as partial:
        partial.write_text("\n\n".join([text, *notes]) + "\n", encoding="utf-8")


def _markdown(text: str) -> str:
    """Return `text` in which no character ends a cell or begins a tag."""
    return printable(text).replace("|", "\\|").replace("<", "&lt;")


def write_csv(rows: Sequence[Row], path: Path, columns: Sequence[str]) -> None:
    """Write `columns` of `rows`."""
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = TableWriter(file)
        table.write(columns)
        for row in rows:
            table.write(row.get(column, "") for column in columns)
