"""Checks the options that benchmarks share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..errors import InputError


def check_counts(name: str, counts: Sequence[int], least: int = 1) -> None:
    """Check that the numbers given as `--name` are not below `least`.

    Raises:
        InputError: If one is.
    """
    for count in counts:
        if count < least:
            raise InputError(f"--{name} {count} must be a whole number from {least}.")


def check_seconds(seconds: float) -> None:
    """Check that `--seconds` is a duration.

    Raises:
        InputError: If it is negative, infinite or no number.
    """
    if not 0 <= seconds < math.inf:
        raise InputError(f"--seconds {seconds:g} must be a finite number from 0.")


def check_device(device: str) -> None:
    """Check that PyTorch computes on `--device`.

    Raises:
        InputError: If it does not know the device, or has none of this kind here.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {device}: PyTorch sees no GPU here; give cpu.")
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, ImportError, AssertionError) as error:  # by the kind of device
        raise InputError(
            f"--device {device} is none that PyTorch computes on here: give cpu, or cuda where "
            "there is a GPU."
        ) from error
