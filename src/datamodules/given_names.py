"""Reads the class names that a user gives for data that has only numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError, some
from .fields import shown


def read_names(given: Sequence[str] | str | None, count: int | None) -> tuple[str, ...] | None:
    """Return the name of each class in order; None where none are given.

    Args:
        given: `datamodule.class_names`: the names, or a text file in UTF-8 with one a line.
        count: `datamodule.num_classes`; None where the names alone say it.

    Raises:
        InputError: If the file cannot be read, a name is not text or occurs twice, or their number
            is not `count`.
    """
    if given is None:
        return None
    listed = list(given) if isinstance(given, (list, tuple)) else []
    names = _lines(given) if isinstance(given, str) else listed
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(
            f"datamodule.class_names={shown(given)} must name each class by a text, as "
            "[road,car], or be a text file with one name a line; quote a name that is a number, "
            "as ['1']."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"datamodule.class_names={shown(given)} holds {some(twice)} more than once: give each "
            "class a name of its own."
        )
    if count is not None and len(names) != count:
        raise InputError(
            f"datamodule.class_names={shown(given)} has {len(names)} names, but "
            f"datamodule.num_classes={shown(count)}: name each class, or leave num_classes out."
        )
    return tuple(names)


def _lines(path: str) -> list[str]:
    """Return the lines of a text file that are not empty."""
    try:
        text = Path(path).expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(
            f"datamodule.class_names={path} cannot be read as a text file ({reason}): give a list "
            "as [road,car], or a file with one name a line."
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
