"""Maps the pixel values of index masks to classes, and checks that a split has several."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError, some
from .fields import shown
from .targets import IGNORED

log = logging.getLogger(__name__)

_VALUES = 2**16  # a mask has 8 or 16 bits
LOOKED_AT, MOST = 64, 2000  # masks read of a split; more than 64 only if these show one class


@dataclass(frozen=True)
class PixelValues:
    """Maps the values of a mask to classes.

    Attributes:
        num_classes: Number of classes without ignored ones.
        reduce_zero_label: Value 0 is ignored and class i has the value i + 1.
        values: The value of each class in order; None where it is the class's own index. 255 is
            ignored unless it is one of them.
    """

    num_classes: int
    reduce_zero_label: bool = False
    values: Sequence[int] | None = None

    def check(self) -> None:
        """Check the settings.

        Raises:
            InputError: If they contradict each other, or there are too few or many classes.
        """
        given, most = self.num_classes, IGNORED - self.reduce_zero_label
        if type(given) is not int or not 2 <= given <= most:
            hint = ", as the background counts too" if given == 1 and type(given) is int else ""
            if given is None:
                hint = ", or datamodule.class_names must name the classes"
            raise InputError(
                f"datamodule.num_classes={shown(given)} must be a whole number from 2 to {most} "
                f"for masks{hint}."
            )
        if self.values is None:
            return
        listed = self.values if isinstance(self.values, list | tuple) else ()
        known = {one for one in listed if type(one) is int and 0 <= one < _VALUES}
        if len(known) != len(listed) or len(known) != given:
            raise InputError(
                f"datamodule.values={shown(self.values)} must be a list of {given} different whole "
                f"numbers from 0 to {_VALUES - 1}, the value of each class in order, for "
                f"datamodule.num_classes={given}."
            )
        if self.reduce_zero_label:
            raise InputError(
                "datamodule.values and datamodule.reduce_zero_label=true contradict each other: "
                "values alone says which value is class 0."
            )

    @cached_property
    def of_classes(self) -> tuple[int, ...]:
        """Return the value of each class."""
        first = int(self.reduce_zero_label)
        return tuple(self.values or range(first, first + self.num_classes))

    @cached_property
    def _table(self) -> npt.NDArray[np.int64]:
        """Return class + 1 for each value; 0 if it is ignored, -1 if it is not allowed."""
        table = np.full(_VALUES, -1)
        table[[IGNORED, 0] if self.reduce_zero_label else IGNORED] = 0
        table[list(self.of_classes)] = np.arange(1, self.num_classes + 1)
        return table

    def classes(self, pixels: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.int64]:
        """Return class + 1 of each pixel, 0 where it is ignored.

        Args:
            pixels: The values in the file, of any shape.
            path: The file, for messages.

        Raises:
            InputError: If a pixel has another value.
        """
        _check_kind(pixels, path)
        values = pixels.astype(np.int64)
        inside = (values >= 0) & (values < _VALUES)
        classes = np.where(inside, self._table[np.where(inside, values, 0)], -1)
        if classes.min(initial=0) < 0:
            raise InputError(
                f"{path} holds the index {values[classes < 0].max()}, but the {self.num_classes} "
                f"classes of datamodule.num_classes are {self._described()}."
            )
        return classes

    def _described(self) -> str:
        given = self.of_classes
        known = (
            f"{given[0]} to {given[-1]}" if self.values is None else some([*map(str, given)], 20)
        )
        notes = [] if IGNORED in given else [f"and {IGNORED} is ignored"]
        notes += ["datamodule.values lists other values"] if self.values is None else []
        return f"{known} ({'; '.join(notes)})" if notes else known

    def check_split(
        self,
        masks: Sequence[Path],
        pixels_of: Callable[[Path], npt.NDArray[np.generic]],
        *,
        training: bool,
    ) -> None:
        """Check that the masks of a split have at least two classes.

        64 masks, spread over the split, are read; up to 2000 if these show only one class.

        Args:
            masks: All masks of the split.
            pixels_of: Reads the values of a mask.
            training: Whether it is the training split, for which one class is always an error.

        Raises:
            InputError: If every pixel is ignored, or all others have the same class.
        """
        step = max(1, -(-len(masks) // LOOKED_AT))
        spread = [path for start in range(step) for path in masks[start::step]]
        counts: Counter[int] = Counter()
        seen: list[int] = []
        read = 0
        for path in spread[:MOST]:
            if read >= LOOKED_AT and len(seen) > 1:
                break
            pixels = pixels_of(path)
            _check_kind(pixels, path)
            values = np.unique(pixels)
            self.classes(values, path)
            counts.update(map(int, values))
            seen = [value for value in self.of_classes if counts[value]]
            read += 1
        complete = read == len(masks)
        facts = (
            f"{masks[0].parent} has masks of {_and(sorted(counts))} only ({read} of "
            f"{len(masks)} were read)"
        )
        if len(seen) < 2:
            self._one_class(facts, seen, complete, counts, training)
        elif complete and len(seen) < self.num_classes:
            never = [str(value) for value in self.of_classes if not counts[value]]
            log.warning(
                f"{masks[0].parent} has no pixel of {len(never)} of the {self.num_classes} classes "
                f"of datamodule.num_classes (values {some(never)})."
            )

    def _one_class(
        self, facts: str, seen: list[int], complete: bool, counts: Counter[int], training: bool
    ) -> None:
        hidden = [value for value in sorted(counts) if value not in self.of_classes]
        left = f"of class {self.of_classes.index(seen[0])}" if seen else "ignored"
        reason = f"{facts}: every pixel is {left}"
        if hidden and seen:
            reason = f"{facts}: {_and(hidden)} is ignored and every other pixel is {left}"
        example = sorted(counts) if len(counts) == self.num_classes else [0, IGNORED]
        remedy = "draw each class with its own index, or list the value of each class in order, as "
        remedy += f"datamodule.values={example}".replace(" ", "")
        if 0 in hidden:
            remedy = "datamodule.reduce_zero_label=false makes 0 the first class"
        surely = training or not seen or (hidden and self.num_classes == 2)
        if complete and surely:
            raise InputError(f"{reason}; {remedy}.")
        log.warning(f"{reason}; if this is not meant, {remedy}.")


def _check_kind(pixels: npt.NDArray[np.generic], path: Path) -> None:
    if pixels.ndim > 2:
        raise InputError(
            f"{path} has {pixels.shape[2]} channels: a mask must have one, whose values are "
            "class indices."
        )
    if pixels.dtype.kind not in "bui":
        raise InputError(
            f"{path} holds fractional numbers ({pixels.dtype}): a mask must hold whole ones, "
            "class indices."
        )


def _and(values: Sequence[int]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}" if most else last
