"""Defines which frames are read from a video file, and what makes a file valid."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .decoding import MOST_PIXELS, check_regular

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")
_MOST_MISSING = 0.1  # share of the length that a header states, above which a file is truncated

Times = npt.NDArray[np.float64]


class Span(NamedTuple):
    """Holds when a video is shown, as read from its packets without decoding a frame.

    Attributes:
        begin: When the first frame appears, in seconds.
        end: When the last one disappears, in seconds.
        frames: How many there are.
    """

    begin: float
    end: float
    frames: int

    @property
    def rate(self) -> float:
        """Return the average number of frames a second."""
        return self.frames / (self.end - self.begin) if self.end > self.begin else 1.0


class Frames(NamedTuple):
    """Holds decoded frames, each once.

    Attributes:
        pixels: `(F, 3, H, W)` of 8 bits, RGB, turned as the file says.
        places: `(N,)`, the number of the frame that is shown at each time.
    """

    pixels: Tensor
    places: list[int]


Choose = Callable[[Span], Times]  # the times `(N,)` in seconds, in any order
Decode = Callable[[str, Choose], Frames]  # of the file at a path


def check_file(path: str | os.PathLike[str]) -> None:
    """Check that there is a file that is not empty.

    Raises:
        OSError: If there is none.
        ValueError: If it is not a regular file, or empty.
    """
    check_regular(path)
    if not Path(path).stat().st_size:
        raise ValueError("it is empty")


def check_size(width: int, height: int) -> None:
    """Check the size of frames in pixels.

    Raises:
        ValueError: If it is 0 or larger than allowed.
    """
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError(f"its frames have {width} x {height} pixels")


def check_length(span: Span, stated: float | None) -> None:
    """Check that a video is about as long as its header states.

    Args:
        span: The span that its packets have.
        stated: Its length in the header, in seconds; None where it is not stated.

    Raises:
        ValueError: If much of it is missing.
    """
    found = span.end - span.begin + 1 / span.rate
    if stated is not None and found < (1 - _MOST_MISSING) * stated:
        raise ValueError(
            f"it is truncated: its header states {stated:.1f} s, and frames end after "
            f"{span.end - span.begin:.1f} s"
        )
