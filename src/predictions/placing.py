"""Leads boxes and class scores from a framed input back to the photograph."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def part_of_frame(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height in pixels of a photograph within its frame, at its left top.

    Args:
        size: Width and height of the photograph in pixels.
        frame: Height and width of the input, a square.
    """
    side = frame[-1]
    shorter = int(side * min(size) / max(size))  # torchvision's rule
    return (shorter, side) if size[0] <= size[1] else (side, shorter)


def boxes_on(boxes: Tensor, size: tuple[int, int], frame: tuple[int, int]) -> Tensor:
    """Return `boxes (D, 4)` of a frame in pixels of the photograph, clipped to it.

    Args:
        boxes: Left, top, right, bottom.
        size: As `part_of_frame`.
        frame: As `part_of_frame`.
    """
    width, height = part_of_frame(size, frame)
    scale = boxes.new_tensor([size[0] / width, size[1] / height]).repeat(2)
    return torch.minimum((boxes * scale).clamp(min=0), boxes.new_tensor(size).repeat(2))


def classes_on(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the class `(H, W)` of each pixel of the photograph.

    Scores are enlarged linearly, one class at a time, for photographs have many pixels.

    Args:
        scores: `(classes, S, S)` of the frame.
        size: As `part_of_frame`.
    """
    width, height = part_of_frame(size, (scores.shape[-2], scores.shape[-1]))
    shape = size[1], size[0]
    best = torch.full(shape, -torch.inf, device=scores.device)
    classes = torch.zeros(shape, dtype=torch.long, device=scores.device)
    for number, score in enumerate(scores[:, :height, :width].float()):
        enlarged = F.interpolate(score[None, None], shape, mode="bilinear")[0, 0]
        better = enlarged > best
        best = torch.where(better, enlarged, best)
        classes[better] = number
    return classes
