"""Draws images beside their truth, what was predicted, and where the slow path was taken."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from ..datamodules.normalization import Normalization
from ..datamodules.targets import IGNORED, Target
from ..modules.heads.base import DenseOutput
from .tokens import faded, grid

SHOWN = 0.3  # least score of a detection
TINT = 0.65  # of a class's color over the image


def draw_dense(
    images: Tensor,
    targets: Sequence[Target],
    output: DenseOutput,
    normalization: Normalization,
) -> Image.Image:
    """Draw one row an image: input, truth, prediction, then what each location keeps.

    Detections with a score from 0.3 are drawn; what has no class is left as it is.

    Args:
        images: `(B, 3, S, S)`, normalized.
        targets: Of each image.
        output: At inference, of a detector if it has detections, else of a segmentation.
        normalization: Of the images.
    """
    pixels = normalization.undo(images).cpu()
    if output.detections:
        truth = [_boxed(image, target) for image, target in zip(pixels, targets, strict=True)]
        found = [_boxed(image, one) for image, one in zip(pixels, output.detections, strict=True)]
        columns = [pixels, torch.stack(truth), torch.stack(found)]
    else:
        assert output.logits is not None
        masks = torch.stack([target["mask"] for target in targets]).cpu()
        columns = [pixels, _tinted(pixels, masks), _tinted(pixels, output.logits.argmax(1).cpu())]
    titles = ["input", "truth", "prediction"]
    for step in output.backbone.steps:
        columns.append(faded(pixels, step.keep.to(pixels)))
        titles.append(f"block {step.location}: {100 * step.keep.float().mean():.0f} %")
    return grid(columns, titles)


def color_of(label: int) -> tuple[int, int, int]:
    """Return the color of a class, the same in every picture; class 0 is black."""
    if label == 0:
        return (0, 0, 0)
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _tinted(pixels: Tensor, masks: Tensor) -> Tensor:
    """Tint `pixels (B, 3, S, S)` in the colors of `masks (B, S, S)`; class 0 only darkens."""
    colors = torch.tensor([color_of(label) for label in range(IGNORED + 1)]) / 255
    tint = colors[masks].permute(0, 3, 1, 2)
    known = (masks != IGNORED).unsqueeze(1)
    return torch.where(known, pixels.lerp(tint, TINT), pixels)


def _boxed(image: Tensor, objects: Target) -> Tensor:
    shown = objects["scores"] >= SHOWN if "scores" in objects else objects["labels"] > 0
    boxes, labels = (objects[name][shown].cpu() for name in ("boxes", "labels"))
    if not len(boxes):
        return image
    colors = [color_of(label) for label in labels.tolist()]
    width = max(1, image.shape[-1] // 80)
    drawn = draw_bounding_boxes((255 * image).byte(), boxes, colors=colors, width=width)
    return drawn.float() / 255
