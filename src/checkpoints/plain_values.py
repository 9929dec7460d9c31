"""Defines what stands for a pickled thing that is not made, and which values are plain enough."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import NamedTuple

import torch

_MOST_NESTED, _MOST_VALUES = 100, 2_000_000


class Refusal(ValueError):
    """Says why a file is refused, as the end of a sentence without its full stop."""


class StorageKind(NamedTuple):
    """Names a kind of storage as a pickle does."""

    dtype: torch.dtype

    @property
    def itemsize(self) -> int:
        """Return the bytes of one number."""
        return self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class UnreadObject:
    """Stands for an object that is not made, and for its class, by the name of the class."""

    name: str


@dataclass(frozen=True, eq=False)
class UnreadTensor:
    """Stands for a tensor that is not made, with the reason as the end of a sentence."""

    reason: str


def hashable(key: object, nested: bool = False) -> object:
    """Return `key` if its hash is found at once: a plain value, or a tuple of such.

    Raises:
        pickle.UnpicklingError: If it is anything else.
    """
    if isinstance(key, tuple) and not nested:
        return tuple(hashable(one, nested=True) for one in key)
    if isinstance(key, int) and key.bit_length() > 63:
        raise pickle.UnpicklingError
    plain = str, int, float, bytes, type(None), UnreadObject, torch.dtype, torch.device, StorageKind
    if not isinstance(key, plain):
        raise pickle.UnpicklingError
    return key


def check_extent(value: object) -> None:
    """Refuse values that hold themselves, or the same again and again: they are endless to walk.

    Raises:
        Refusal: If there are too many, or they are nested too deeply.
    """
    count = 0
    walk = [iter((value,))]
    while walk:
        for one in walk[-1]:
            count += 1
            if count > _MOST_VALUES or len(walk) > _MOST_NESTED:
                raise Refusal("its values are nested without end")
            if isinstance(one, dict):
                walk.append(iter(one.values()))
                break
            if isinstance(one, (list, tuple, set, frozenset)):
                walk.append(iter(one))
                break
        else:
            walk.pop()
