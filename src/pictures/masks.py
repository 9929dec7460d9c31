"""Makes images whose masks can be switched on and off, one for each location."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..datamodules.normalization import Normalization
from ..modules.backbones.base import SparseOutput
from .patch_grid import PatchGrid
from .tokens import in_a_row, seen

LABELS = {0: "dropped", 1: "kept", 2: "merged"}


def masked_images(
    images: Tensor,
    output: SparseOutput,
    normalization: Normalization,
) -> list[Any]:
    """Make a `wandb.Image` of each, whose mask `block <location>` labels every pixel.

    Args:
        images: `(B, 3, S, S)`, normalized.
        output: The student's, at inference.
        normalization: Of the images.
    """
    import wandb

    images, output = in_a_row(seen(images, output), output)
    patches = PatchGrid.of(output, images)
    pixels = normalization.undo(images).permute(0, 2, 3, 1).float().cpu().numpy()
    labels = []
    for step in output.steps:
        share = patches.enlarged(step.shares().to(images), images)[:, 0]
        labels.append(((share > 0).int() + ((share > 0) & (share < 0.99)).int()).cpu().numpy())
    return [
        wandb.Image(
            (255 * picture).astype("uint8"),
            masks={
                f"block {step.location}": {"mask_data": label[i], "class_labels": LABELS}
                for step, label in zip(output.steps, labels, strict=True)
            },
        )
        for i, picture in enumerate(pixels)
    ]
