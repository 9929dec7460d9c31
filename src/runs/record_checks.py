"""Checks of a checkpoint's record: it is data of anybody's, and may set values only."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from ..errors import InputError

# A whole value that refers to another one; OmegaConf resolves nothing else without a resolver.
_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+|\[\w+\])*)\}")
# Addresses, commands (`pipe:`), and names by which timm reads from elsewhere (`hf-hub:`).
_ELSEWHERE = re.compile(r"://|::|^\s*[A-Za-z][\w+.-]+:(?!\s)")
_ASIDE = ("seed", "loss", "optimizer")  # the command line's own, which a record refers to
_MOST_NESTED, _MOST_VALUES = 20, 20_000
_MOST_PIXELS = 4096
_SIZED = ("backbone.options", "head")  # parts whose numbers the weights must be able to have


def check_values(taken: Mapping[str, Any], path: Any) -> None:
    """Refuse whatever in a record is no plain value or would be resolved into something else.

    Nothing is resolved here, and after this nothing can be but a reference from one of the
    record's own values to another.

    Args:
        taken: The part of the record that is used, as it was read.
        path: The checkpoint, for the sentences.

    Raises:
        InputError: Naming key and value.
    """
    for key, value in _leaves(taken, path):
        if isinstance(value, str) and "${" in value:
            reference = _REFERENCE.fullmatch(value)
            if not reference or _parts(reference[1])[0] not in {*taken, *_ASIDE}:
                raise InputError(
                    f"{path} is refused because its record says {key}={value!r}, which is no plain "
                    "reference to one of its own values: give that setting on the command line, "
                    "if the file is yours."
                )
    _expanded(taken, taken, (), path)


def check_local(taken: Mapping[str, Any], path: Any) -> None:
    """Refuse what would have a record fetch from elsewhere than the local file system.

    Raises:
        InputError: Naming the setting to give on the command line.
    """
    data = taken.get("datamodule")
    for key, value in _leaves(taken, path):
        elsewhere = isinstance(value, str) and _ELSEWHERE.search(value)
        named = isinstance(data, Mapping) and key == "datamodule.dataset" and value
        if elsewhere or named:
            raise InputError(
                f"{path} is refused because its record wants {key}={_shown(value)}, which may be "
                f"read from elsewhere: give {key}=... on the command line, if you want that."
            )


def check_sizes(taken: Mapping[str, Any], weights: Collection[Tensor], path: Any) -> None:
    """Refuse networks that the file's own weights cannot fill, and images of absurd sizes.

    Raises:
        InputError: Naming key, value and the largest that is possible.
    """
    most = max([len(weights), *(side for tensor in weights for side in tensor.shape)], default=0)
    for key, value in _leaves(taken, path):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        limit = math.inf
        if key.startswith(_SIZED):
            limit = most
        if key.rpartition(".")[2] in ("image_size", "img_size") or ".img_size." in key:
            limit = _MOST_PIXELS
        if not abs(value) <= limit:
            raise InputError(
                f"{path} is refused because its record says {key}={value}, and {limit:,} is the "
                f"most that its weights or its images can have: give {key}=... on the command "
                "line, if the file is yours."
            )


def _leaves(value: Any, path: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every plain value with its key."""
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


def _expanded(value: Any, whole: Mapping[str, Any], trail: tuple[str, ...], path: Any) -> int:
    """How many values there are once references are followed."""
    if isinstance(value, str):
        reference = _REFERENCE.fullmatch(value)
        if not reference:
            return 1
        name = reference[1]
        if name in trail or len(trail) > _MOST_NESTED:
            raise _refused(path, trail[0] if trail else name, f"a reference {value} in a circle")
        return _expanded(_found(whole, name), whole, (*trail, name), path)
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, (list, tuple)):
        return 1
    count = 1
    for one in inner:
        count += _expanded(one, whole, trail, path)
        if count > _MOST_VALUES:
            raise _refused(path, "", f"of more than {_MOST_VALUES:,} values")
    return count


def _found(whole: Any, name: str) -> Any:
    """What a reference leads to in the record; None where the command line has the value."""
    for part in _parts(name):
        if isinstance(whole, dict):
            whole = whole.get(part)
        elif isinstance(whole, (list, tuple)) and part.isdecimal() and int(part) < len(whole):
            whole = whole[int(part)]
        else:
            return None
    return whole


def _parts(name: str) -> list[str]:
    return name.replace("[", ".").replace("]", "").split(".")


def _refused(path: Any, key: str, what: str) -> InputError:
    where = f"its record's {key}" if key else "its record"
    return InputError(
        f"{path} is refused because {where} is {what}: give a .ckpt as train.py writes it."
    )


def _shown(value: Any) -> str:
    """A plain value, cut; of others their kind alone, for they may be endless."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return repr(value)[:200]
    return f"a {type(value).__name__}"
