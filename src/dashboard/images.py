"""Images whose masks can be switched on and off, one for each location."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..modules.backbones.base import SparseOutput
from ..pictures.tokens import denormalized, enlarged, seen

LABELS = {0: "dropped", 1: "kept", 2: "merged"}


def masked_images(
    images: Tensor,
    output: SparseOutput,
    locations: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
) -> list[Any]:
    """A `wandb.Image` each, whose mask `block <location>` labels every pixel.

    Args:
        images: `(B, 3, S, S)`, normalized by `mean` and `std`.
        output: The student's, at inference.
        locations: One for each decision.
        mean: Per channel.
        std: Per channel.
    """
    import wandb

    images = seen(images, output)
    pixels = denormalized(images, mean, std).permute(0, 2, 3, 1).float().cpu().numpy()
    labels = []
    for number in range(len(locations)):
        share = enlarged(output.shares(number).to(images), images)[:, 0]
        labels.append(((share > 0).int() + ((share > 0) & (share < 0.99)).int()).cpu().numpy())
    return [
        wandb.Image(
            (255 * picture).astype("uint8"),
            masks={
                f"block {location}": {"mask_data": labels[number][i], "class_labels": LABELS}
                for number, location in enumerate(locations)
            },
        )
        for i, picture in enumerate(pixels)
    ]
