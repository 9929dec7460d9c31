"""Checks labels as data sets store them and turns them into the outputs that they stand for."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import SupportsInt

from ..errors import InputError


def checked_label(
    label: object, outputs: Sequence[int] | int | None, name: Callable[[], str]
) -> int:
    """Return the output that a label stands for.

    Args:
        label: As it is stored.
        outputs: The output of each label, -1 for labels that no image may have; or the number of
            labels, each of which is its own output; or None for labels that need no check.
        name: Returns the name of the image, for the message.

    Raises:
        InputError: If it is not a whole number, or not one of the labels.
    """
    if outputs is None:
        assert isinstance(label, SupportsInt)
        return int(label)
    count = outputs if isinstance(outputs, int) else len(outputs)
    output = -1
    if isinstance(label, numbers.Integral) and not isinstance(label, bool):
        output = int(label)
    if not 0 <= output < count:
        raise InputError(
            f"{name()} has the label {str(label)[:80]!r}, but labels must be whole numbers from 0 "
            f"to {count - 1}: correct it, or give datamodule.num_classes if there are more classes."
        )
    return output if isinstance(outputs, int) else outputs[output]
