"""Reads csv files that list photographs with any number of classes each.

A header says in which of two ways a file is written:

    path,labels              path,cat,dog
    a.jpg,cat|dog            a.jpg,1,1
    sub/b.jpg,dog            sub/b.jpg,0,1
    c.jpg,                   c.jpg,,0

On the left are the names of an image's classes, separated by `|` or `;`; it has no others. On the
right is a column for each class, with 1, 0, or nothing (or -1) where it is unknown.
"""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, one_sentence
from .fields import shown
from .label_sets import UNKNOWN

log = logging.getLogger(__name__)

HEADERS = "path,labels, or path and the name of a class for each other column"
_CELLS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": UNKNOWN, "-1": UNKNOWN, "-1.0": UNKNOWN}


class Listing(NamedTuple):
    """Holds what a csv file lists.

    Attributes:
        classes: The names of its classes, sorted.
        paths: Paths of the photographs, as written.
        labels: Labels of each photograph by class.
        absent: The label of a class that a photograph's labels do not name.
    """

    classes: tuple[str, ...]
    paths: list[str]
    labels: list[dict[str, float]]
    absent: float


def read_listing(file: Path) -> Listing:
    """Read a list of photographs in the format that the top of this file describes.

    Raises:
        InputError: One sentence on what is wrong, with the line.
    """
    lines = _lines(file)
    _, header = next(lines, (0, []))
    names = header[1:]
    if header[:1] != ["path"] or not names or not all(names) or len(set(names)) < len(names):
        raise InputError(f"{file} has the header {','.join(header)[:200]!r}: write {HEADERS}.")
    by_name = names == ["labels"]
    paths, labels = [], []
    first: dict[str, int] = {}  # place of each photograph's first line
    for number, fields in lines:
        where = f"Line {number} of {file}"
        if not any(fields):
            raise InputError(f"{where} is empty: remove it, or write a photograph's path.")
        if len(fields) != len(header) or not fields[0]:
            raise InputError(
                f"{where} is {','.join(fields)[:200]!r}: write a path and {len(names)} more "
                f"field{'s' if len(names) > 1 else ''}, as the header has them."
            )
        paths.append(fields[0])
        labels.append(_named(fields[1], where) if by_name else _marked(names, fields[1:], where))
        place = first.setdefault(os.path.normpath(fields[0]), len(labels) - 1)
        if labels[place] != labels[-1]:
            raise InputError(
                f"{where} lists {shown(fields[0])} with other labels than a line above it: give "
                "each photograph one line with all of its labels."
            )
    if len(first) < len(paths):
        log.warning(f"{file} lists {len(paths) - len(first)} photographs more than once.")
    classes = tuple(sorted({name for given in labels for name in given} if by_name else names))
    if not paths or not classes:
        missing = "a class" if paths else "a photograph"
        raise InputError(f"{file} does not name {missing}: it must list one at least.")
    return Listing(classes, paths, labels, 0.0 if by_name else UNKNOWN)


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Read the number and the fields of each line, without space around them."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.reader(opened, strict=True)
            for fields in reader:
                yield reader.line_num, [field.strip() for field in fields]
    except (csv.Error, UnicodeError, OSError) as error:
        raise InputError(
            f"{file} cannot be read as csv in UTF-8: {one_sentence(str(error))}"
        ) from error


def _named(cell: str, where: str) -> dict[str, float]:
    names = [name.strip() for name in re.split(r"[|;]", cell)] if cell else []
    if not all(names):
        raise InputError(
            f"{where} has the labels {cell[:200]!r}: write names with one | or ; between them."
        )
    return dict.fromkeys(names, 1.0)


def _marked(names: Sequence[str], cells: Sequence[str], where: str) -> dict[str, float]:
    for name, cell in zip(names, cells, strict=True):
        if cell not in _CELLS:
            raise InputError(
                f"{where} has {cell[:80]!r} for {name}: write 1, 0, or nothing where it is unknown."
            )
    return {name: _CELLS[cell] for name, cell in zip(names, cells, strict=True)}
