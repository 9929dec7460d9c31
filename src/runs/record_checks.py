"""Checks that a checkpoint's record, which anybody may have written, sets plain values only."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..modules.networks.create import IMAGE_SIDES

# A value that is one reference to another, or a number where there is no other: OmegaConf resolves
# nothing else without another resolver.
_REFERENCE = re.compile(
    r"\$\{(?P<select>oc\.select:)?(?P<name>[A-Za-z_]\w*(?:\.\w+|\[\w+\])*)(?(select),\d+)\}"
)
# Addresses, commands (`pipe:`), and names by which timm reads from elsewhere (`hf-hub:`).
_ELSEWHERE = re.compile(r"://|::|^\s*[A-Za-z][\w+.-]+:(?!\s)")
_MOST_NESTED, _MOST_VALUES = 20, 20_000
_MOST_PIXELS = 4096


def check_values(taken: Mapping[str, object], others: Collection[str], path: str | Path) -> None:
    """Refuse whatever in a record is no plain value or would be resolved into something else.

    Nothing is resolved here, and after this nothing can be but a reference from one of the
    record's own values to another.

    Args:
        taken: The part of the record that is used, as it was read.
        others: Parts of the command line's own that it may refer to.
        path: The checkpoint, for the sentences.

    Raises:
        InputError: Naming key and value.
    """
    for key, value in _leaves(taken, path):
        if isinstance(value, str) and "${" in value:
            reference = _REFERENCE.fullmatch(value)
            if not reference or _parts(reference["name"])[0] not in {*taken, *others}:
                raise InputError(
                    f"{path} is refused because its record says {key}={value!r}, which is no plain "
                    "reference to one of its own values: give that setting on the command line, "
                    "if the file is yours."
                )
    _expanded(taken, taken, (), path)


def check_local(taken: Mapping[str, object], fetched: Collection[str], path: str | Path) -> None:
    """Refuse what would have a record fetch from elsewhere than the local file system.

    Args:
        taken: The part of the record that is used.
        fetched: Keys of settings that may be downloaded, whatever their value is.
        path: The checkpoint, for the sentences.

    Raises:
        InputError: Naming the setting to give on the command line.
    """
    for key, value in _leaves(taken, path):
        elsewhere = isinstance(value, str) and _ELSEWHERE.search(value)
        if elsewhere or (key in fetched and value):
            raise InputError(
                f"{path} is refused because its record sets {key}={_shown(value)}, which may be "
                f"read from elsewhere: give {key}=... on the command line, if you want that."
            )


def check_sizes(
    taken: Mapping[str, object],
    weights: Collection[Tensor],
    bounded: tuple[str, ...],
    path: str | Path,
) -> None:
    """Refuse networks that the file's own weights cannot fill, and images of absurd sizes.

    Args:
        taken: The part of the record that is used.
        weights: Of the checkpoint.
        bounded: Parts of the record in which no number exceeds the largest side of the weights.
        path: The checkpoint, for the sentences.

    Raises:
        InputError: Naming key, value and the largest that is possible.
    """
    most = max([len(weights), *(side for tensor in weights for side in tensor.shape)], default=0)
    for key, value in _leaves(taken, path):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        limit = math.inf
        if key.startswith(bounded):
            limit = most
        if set(key.split(".")[-2:]) & {*IMAGE_SIDES}:
            limit = _MOST_PIXELS
        if not abs(value) <= limit:
            raise InputError(
                f"{path} is refused because its record says {key}={value}, and {limit:,} is the "
                f"most that its weights or its images can have: give {key}=... on the command "
                "line, if the file is yours."
            )


def _leaves(
    value: object, path: str | Path, key: str = "", depth: int = 0
) -> Iterator[tuple[str, object]]:
    """Find every plain value with its key."""
    if depth > _MOST_NESTED:
        raise _refused(path, key, f"nested more than {_MOST_NESTED} deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str) or "${" in name:
                raise _refused(path, key, f"with the name {_shown(name)}, which is no plain text")
            yield from _leaves(inner, path, f"{key}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _leaves(inner, path, f"{key}.{number}", depth + 1)
    elif value is None or type(value) in (str, int, float, bool):
        yield key, value
    else:
        raise _refused(path, key, f"a {type(value).__name__}, which is no plain value")


def _expanded(
    value: object, record: Mapping[str, object], trail: tuple[str, ...], path: str | Path
) -> int:
    """Count the values that there are once references are followed."""
    if isinstance(value, str):
        reference = _REFERENCE.fullmatch(value)
        if not reference:
            return 1
        name = reference["name"]
        if name in trail or len(trail) > _MOST_NESTED:
            raise _refused(path, trail[0] if trail else name, f"a reference {value} in a circle")
        return _expanded(_found(record, name), record, (*trail, name), path)
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, (list, tuple)):
        return 1
    count = 1
    for one in inner:
        count += _expanded(one, record, trail, path)
        if count > _MOST_VALUES:
            raise _refused(path, "", f"of more than {_MOST_VALUES:,} values")
    return count


def _found(node: object, name: str) -> object:
    """Return what a reference leads to; None where the command line has the value."""
    for part in _parts(name):
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, (list, tuple)) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


def _parts(name: str) -> list[str]:
    return name.replace("[", ".").replace("]", "").split(".")


def _refused(path: str | Path, key: str, what: str) -> InputError:
    where = f"its record's {key}" if key else "its record"
    return InputError(
        f"{path} is refused because {where} is {what}: give a .ckpt as train.py writes it."
    )


def _shown(value: object) -> str:
    """Return a plain value, cut short; of others the type alone, for they may be endless."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return repr(value)[:200]
    return f"a {type(value).__name__}"
