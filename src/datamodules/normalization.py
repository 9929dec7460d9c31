"""Holds the statistics by which images are normalized."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Normalization(NamedTuple):
    """Holds mean and standard deviation of each channel, of pixels from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def undo(self, images: Tensor) -> Tensor:
        """Return pixels from 0 to 1 of normalized `images (B, 3, H, W)`."""
        scale = images.new_tensor(self.std).view(1, -1, 1, 1)
        shift = images.new_tensor(self.mean).view(1, -1, 1, 1)
        return (images * scale + shift).clamp(0, 1)
