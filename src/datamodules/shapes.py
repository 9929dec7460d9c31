"""Checks and draws the shapes of objects in COCO's two formats: polygons and run lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .fields import FAR, Json, is_numbers, shown

_SLACK = 1.0  # pixels by which rounding may put a corner outside of its image
_LONGEST = 6  # most characters of a count, which is 30 bits
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Outline:
    """Holds one or more polygons.

    Attributes:
        polygons: The corners `(N, 2)` of each, three or more, as x and y in pixels.
        extent: The left, top, right and bottom end of all of them, in pixels.
        strays: How many further polygons were left out because they have no area.
    """

    polygons: tuple[npt.NDArray[np.float64], ...]
    extent: tuple[float, ...]
    strays: int = 0

    def drawn(self, height: int, width: int) -> Pixels:
        """Return the mask `(H, W)` of 0 and 1, as COCO's tools draw it."""
        from pycocotools import mask as coco

        pieces = [polygon.ravel().tolist() for polygon in self.polygons]
        drawn: Pixels = coco.decode(coco.merge(coco.frPyObjects(pieces, height, width)))
        return drawn

    def reaches_out(self, width: int, height: int) -> bool:
        """Return whether a corner is outside of an image of this size by more than rounding."""
        return bool(self.polygons) and reaches_out(self.extent, width, height)

    def clipped(self, width: int, height: int) -> Outline:
        """Return the part inside of an image of this size."""
        polygons = list(self.polygons)
        for axis, end in enumerate((width, height)):
            for bound, sign in ((0.0, -1), (float(end), 1)):
                polygons = [_cut(polygon, axis, bound, sign) for polygon in polygons]
        left = (one for one in polygons if len(one) and (np.ptp(one, axis=0) > 0).all())
        return Outline(tuple(left), self.extent, self.strays)


@dataclass(frozen=True)
class Runs:
    """Holds lengths of alternating runs of 0 and 1, which fill the image column by column."""

    counts: npt.NDArray[np.int64]

    def drawn(self, height: int, width: int) -> Pixels:
        """Return the mask `(H, W)` of 0 and 1."""
        values = np.arange(len(self.counts), dtype=np.uint8) % 2
        return np.repeat(values, self.counts).reshape(width, height).T.copy()


def reaches_out(box: Sequence[float], width: int, height: int) -> bool:
    """Return whether a box reaches out of an image of this size by more than rounding.

    Args:
        box: Left, top, right and bottom in pixels.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
    """
    left, top, right, bottom = box
    return min(left, top) < -_SLACK or right > width + _SLACK or bottom > height + _SLACK


def read_shape(value: Json, width: int, height: int, where: str) -> Outline | Runs | None:
    """Check a `segmentation` and return its shape; None where there is none.

    Args:
        value: The value, as read from json. A flat list of six or more numbers is one polygon, and
            corners may be pairs.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        where: What to call the annotation in a message.

    Raises:
        InputError: If it is neither polygons nor runs of such an image.
    """
    if value is None or value == []:
        return None
    if isinstance(value, dict):
        return _runs(value, width, height, where)
    if not isinstance(value, list):
        raise _unknown(value, where)
    return _outline(value, where)


def _outline(value: list[Json], where: str) -> Outline:
    pieces: Sequence[object] = [value] if is_numbers(value) or _is_pairs(value) else value
    polygons, extents = [], []
    for piece in pieces:
        numbers = list(chain(*piece)) if piece and _is_pairs(piece, least=1) else piece
        if not is_numbers(numbers):
            raise _unknown(value, where)
        if len(numbers) % 2:
            raise InputError(
                f"{where} has a polygon of {len(numbers)} numbers, {shown(numbers)}: it must have "
                "an x and a y for each corner."
            )
        if len(numbers) < 6:
            continue
        left, right = min(numbers[::2]), max(numbers[::2])
        top, bottom = min(numbers[1::2]), max(numbers[1::2])
        bounded = min(left, top) > -FAR and max(right, bottom) < FAR
        if not bounded or math.isnan(sum(numbers)):
            raise InputError(
                f"{where} has a polygon with a corner that is not a place in an image, "
                f"{shown(numbers)}: its numbers must be finite, in pixels."
            )
        if left < right and top < bottom:
            polygons.append(np.array(numbers, dtype=np.float64).reshape(-1, 2))
            extents.append((left, top, right, bottom))
    lefts, tops, rights, bottoms = zip(*extents, strict=True) if extents else ((0,),) * 4
    extent = (min(lefts), min(tops), max(rights), max(bottoms))
    return Outline(tuple(polygons), extent, len(pieces) - len(polygons))


def _is_pairs(value: object, least: int = 3) -> TypeGuard[list[list[float]]]:
    """Return whether `value` is a list of at least `least` corners, each a pair of numbers."""
    if not isinstance(value, list) or len(value) < least:
        return False
    return all(is_numbers(pair) and len(pair) == 2 for pair in value)


def _cut(
    polygon: npt.NDArray[np.float64], axis: int, bound: float, sign: int
) -> npt.NDArray[np.float64]:
    """Keep the part on one side of a line (Sutherland and Hodgman's algorithm)."""
    inside = sign * polygon[:, axis] <= sign * bound
    corners = []
    for i, corner in enumerate(polygon):
        last = polygon[i - 1]
        if inside[i] != inside[i - 1]:
            share = (bound - last[axis]) / (corner[axis] - last[axis])
            corners.append(last + share * (corner - last))
        if inside[i]:
            corners.append(corner)
    return np.array(corners, dtype=np.float64).reshape(-1, 2)


def _runs(value: dict[str, Json], width: int, height: int, where: str) -> Runs:
    if value.get("size") != [height, width]:
        raise InputError(
            f"{where} has a mask of size {shown(value.get('size'))}, but its image has "
            f"{[height, width]} (height, width)."
        )
    counts = value.get("counts")
    if isinstance(counts, str):
        lengths = _unpacked(counts)
    elif _is_integers(counts):
        lengths = np.array([min(max(count, -1), FAR) for count in counts], dtype=np.int64)
    else:
        lengths = None
    if lengths is None or not len(lengths):
        raise InputError(
            f"{where} has counts={shown(counts)}: they must be a list of whole numbers, or a text "
            "as COCO's tools write it."
        )
    if lengths.min() < 0 or lengths.sum() != width * height:
        raise InputError(
            f"{where} has runs, {shown(counts)}, that are not {height}x{width} pixels: they "
            f"must be 0 or more each and {height * width} together."
        )
    return Runs(lengths)


def _is_integers(value: Json) -> TypeGuard[list[int]]:
    return isinstance(value, list) and {type(one) for one in value} <= {int}


def _unpacked(text: str) -> npt.NDArray[np.int64] | None:
    """Return the counts that COCO packs into text, 6 bits per character; None for other text.

    A character has five bits of a number, the lowest first, and a sixth that says whether it
    continues. From the fourth number on the difference from the last but one is stored.
    """
    codes = np.array([ord(character) - 48 for character in text], dtype=np.int64)
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _LONGEST:
        return None
    places = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    counts = np.add.reduceat((codes & 31) << 5 * places, starts)
    counts -= np.where(codes[ends] & 16, 1 << 5 * (ends - starts + 1), 0)  # a negative number
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts


def _unknown(value: Json, where: str) -> InputError:
    return InputError(
        f"{where} has segmentation={shown(value)}: it must be a list of polygons, each "
        "[x, y, x, y, ...], or runs with size and counts."
    )
