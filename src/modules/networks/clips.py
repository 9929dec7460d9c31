"""Holds what networks of clips share: a check of their input, and facts for timm."""

from __future__ import annotations

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from ...errors import InputError

# Part of timm's configuration of such networks; classes, sizes and crop are each one's own.
FACTS: dict[str, object] = {
    "pool_size": None,
    "interpolation": "bilinear",
    "fixed_input_size": True,
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "first_conv": "patch_embed.proj",
}


def check_clips(x: Tensor, num_frames: int, image_size: tuple[int, int]) -> None:
    """Raise an `InputError` unless `x` is `(B, 3, T, H, W)` of this many frames and pixels."""
    size = (num_frames, *image_size)
    if tuple(x.shape[2:]) != size:
        raise InputError(
            f"An input of shape {tuple(x.shape)} is not a batch of clips (B, 3, T, H, W) with "
            f"{size[0]} frames of {size[1]}x{size[2]} pixels, which this network takes."
        )
