"""Checks the clips that enter a network of video."""

from __future__ import annotations

from torch import Tensor

from ...errors import InputError


def check_clips(x: Tensor, num_frames: int, image_size: tuple[int, int]) -> None:
    """Raise an `InputError` unless `x` is `(B, 3, T, H, W)` of this many frames and pixels."""
    size = (num_frames, *image_size)
    if tuple(x.shape[2:]) != size:
        raise InputError(
            f"An input of shape {tuple(x.shape)} is none of clips (B, 3, T, H, W) with "
            f"{size[0]} frames of {size[1]}x{size[2]} pixels, which this network takes."
        )
