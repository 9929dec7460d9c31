"""Draws images beside their truth, what was predicted, and where the slow path was taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from ..datamodules.normalization import Normalization
from ..datamodules.targets import IGNORED, Target
from ..modules.heads.base import DenseOutput
from .legends import color_of, with_legend
from .tokens import grid, survivors, survivors_titles

SHOWN = 0.3  # least score of a detection
TINT = 0.65  # of a class's color over the image


def draw_dense(
    images: Tensor,
    targets: Sequence[Target],
    output: DenseOutput,
    normalization: Normalization,
    name: Callable[[int], str] = str,
) -> Image.Image:
    """Draw one row an image: input, truth, prediction, then what each location leaves.

    A legend names the classes that are drawn. Detections with a score from 0.3 are drawn; what has
    no class is left as it is.

    Args:
        images: `(B, 3, S, S)`, normalized.
        targets: Of each image.
        output: At inference, of a detector if it has detections, else of a segmentation.
        normalization: Of the images.
        name: Returns the name of a class.
    """
    pixels = normalization.undo(images).cpu()
    if output.detections:
        labels = [_seen(one)["labels"] for one in (*targets, *output.detections)]
        truth = [_boxed(image, target) for image, target in zip(pixels, targets, strict=True)]
        found = [_boxed(image, one) for image, one in zip(pixels, output.detections, strict=True)]
        columns = [pixels, torch.stack(truth), torch.stack(found)]
    else:
        assert output.logits is not None
        masks = torch.stack([target["mask"] for target in targets]).cpu()
        classes = output.logits.argmax(1).cpu()
        labels = [masks[masks != IGNORED], classes.flatten()]
        columns = [pixels, _tinted(pixels, masks), _tinted(pixels, classes)]
    titles = ["input", "truth", "prediction"]
    columns += survivors(images.cpu(), output.backbone, normalization)
    titles += survivors_titles(output.backbone)
    present = torch.cat([one.cpu() for one in labels]).unique().tolist()
    return with_legend([grid(columns, titles)], {label: name(label) for label in present})


def _tinted(pixels: Tensor, masks: Tensor) -> Tensor:
    """Tint `pixels (B, 3, S, S)` in the colors of `masks (B, S, S)`; class 0 only darkens."""
    colors = torch.tensor([color_of(label) for label in range(IGNORED + 1)]) / 255
    tint = colors[masks].permute(0, 3, 1, 2)
    known = (masks != IGNORED).unsqueeze(1)
    return torch.where(known, pixels.lerp(tint, TINT), pixels)


def _seen(objects: Target) -> Target:
    """Return boxes and labels of what is drawn, on the CPU."""
    shown = objects["scores"] >= SHOWN if "scores" in objects else objects["labels"] > 0
    return {name: objects[name][shown].cpu() for name in ("boxes", "labels")}


def _boxed(image: Tensor, objects: Target) -> Tensor:
    boxes, labels = _seen(objects).values()
    if not len(boxes):
        return image
    colors = [color_of(label) for label in labels.tolist()]
    width = max(1, image.shape[-1] // 80)
    drawn = draw_bounding_boxes((255 * image).byte(), boxes, colors=colors, width=width)
    return drawn.float() / 255
