"""Checks the fields of an untrusted json file against a table of what they must be."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from ..errors import InputError, one_sentence

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
Fields = dict[str, Any]  # of an object whose values `check_fields` has checked
FAR = 1_000_000_000  # beyond any pixel and any number of pixels

_short = reprlib.Repr()
_short.maxlist = _short.maxdict = 8
_short.maxstring = _short.maxother = _short.maxlong = 80


class Kind(NamedTuple):
    """Describes what a field must be: in words, and as a function."""

    required: str
    accepts: Callable[[Json], bool]


def is_whole(value: Json) -> TypeGuard[float]:
    """Return whether `value` is a whole number, `640.0` included."""
    return type(value) is int or (type(value) is float and value.is_integer())


def is_numbers(value: object) -> TypeGuard[list[float]]:
    """Return whether `value` is a list of numbers, which may be empty."""
    return isinstance(value, list) and {type(one) for one in value} <= {int, float}


def _is_text(value: Json) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


WHOLE = Kind("a whole number", lambda value: is_whole(value) and abs(value) < 2**63)
SIDE = Kind("a whole number of pixels above 0", lambda value: is_whole(value) and 0 < value < FAR)
TEXT = Kind("a text", _is_text)
FLAG = Kind("0 or 1", lambda value: type(value) in (int, bool) and value in (0, 1))
BOX = Kind(
    "four finite numbers, left, top, width and height in pixels",
    lambda value: is_numbers(value) and len(value) == 4 and all(abs(one) < FAR for one in value),
)


def read_json(path: Path) -> Json:
    """Return the content of a json file in UTF-8, UTF-16 or UTF-32.

    Raises:
        InputError: If it is not json, nests too deeply or does not fit into memory.
    """
    try:
        content: Json = json.loads(path.read_bytes())
    except RecursionError as error:
        raise InputError(f"{path} is not json that can be read (it nests too deeply).") from error
    except MemoryError as error:
        raise InputError(f"{path} needs more memory than there is: split it.") from error
    except ValueError as error:  # of json or Unicode, or for a number of thousands of digits
        reason = one_sentence(str(error)).rstrip(".")
        raise InputError(f"{path} is not json ({reason}).") from error
    return content


def check_fields(
    one: Json, kinds: Mapping[str, Kind], where: str, form: str = "COCO's format"
) -> Fields:
    """Return an object whose fields are checked: all of `kinds`, each of its kind.

    Args:
        one: The object, as read from json.
        kinds: The kind of each field.
        where: What to call the object in a message.
        form: What to call the format in a message.

    Raises:
        InputError: For the first field that is missing or wrong.
    """
    if not isinstance(one, dict):
        raise InputError(
            f"{where} is {shown(one)}: {form} has an object with {', '.join(kinds)} there."
        )
    for key, kind in kinds.items():
        if key not in one:
            raise InputError(f"{where} has no {key}: {form} has {', '.join(kinds)} there.")
        if not kind.accepts(one[key]):
            raise InputError(f"{where} has {key}={shown(one[key])}: it must be {kind.required}.")
    return one


def shown(value: object) -> str:
    """Return a value as text for a message: short, on one line, control characters escaped."""
    return _short.repr(value)
