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
        outputs: Of each label, -1 for those that no image may have; or how many there are, each
            label being its own output; None of labels that are known to be right.
        name: Says which image it is, for the message.

    Raises:
        InputError: If it is no whole number, or none of the labels.
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
