"""Says where the patches of an output lie in its images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from ..modules.backbones.base import SparseOutput


@dataclass(frozen=True)
class PatchGrid:
    """Places patches in images, beyond whose edges they may reach, or whose margin they leave.

    Attributes:
        rows: Of patches.
        columns: Of patches.
        height: Pixels that the rows cover.
        width: Pixels that the columns cover.
    """

    rows: int
    columns: int
    height: int
    width: int

    @classmethod
    def of(cls, output: SparseOutput, images: Tensor) -> Self:
        """Return the grid of `output`, which is of `images (..., H, W)`."""
        height, width = output.covered or images.shape[-2:]
        if output.grid is not None:
            rows, columns = output.grid[-2:]
        elif output.steps:
            return cls.of_squares(output.steps[0].keep.shape[1], images)
        else:
            rows, columns = 1, 1
        return cls(rows, columns, height, width)

    @classmethod
    def of_squares(cls, patches: int, images: Tensor) -> Self:
        """Return the grid of square patches that cover `images (..., H, W)`."""
        height, width = images.shape[-2:]
        rows = round(math.sqrt(patches * height / width))
        return cls(rows, patches // rows, height, width)

    def enlarged(self, values: Tensor, images: Tensor) -> Tensor:
        """Enlarge values `(B, patches)` or `(B, C, patches)` to the pixels of `images`."""
        maps = values.unflatten(-1, (self.rows, self.columns)).to(images.dtype)
        maps = maps if maps.ndim == 4 else maps.unsqueeze(1)
        covered = F.interpolate(maps, size=(self.height, self.width), mode="nearest")
        return self._framed(covered, images.shape[-2], images.shape[-1])

    def means(self, images: Tensor) -> Tensor:
        """Return the mean color of each patch of `images (B, 3, H, W)`, `(B, 3, patches)`."""
        covered = self._framed(images, self.height, self.width)
        return F.adaptive_avg_pool2d(covered, (self.rows, self.columns)).flatten(2)

    @staticmethod
    def _framed(images: Tensor, height: int, width: int) -> Tensor:
        """Crop `images`, or repeat their last rows and columns, to `height` and `width`."""
        images = images[..., :height, :width]
        missing = (0, width - images.shape[-1], 0, height - images.shape[-2])
        return F.pad(images, missing, mode="replicate") if any(missing) else images
