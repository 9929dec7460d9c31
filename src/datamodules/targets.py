"""Defines samples, the targets of dense prediction, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

IMAGE = "image"  # the target of tasks that learn from images alone, which all data has
IGNORED = 255  # index of pixels whose class is unknown
# `mask (S, S)`, the class of each pixel; or, of each object, `boxes (D, 4)` as left, top, right,
# bottom in pixels, `labels (D,)` from 1, `iscrowd (D,)` and `masks (D, S, S)` of 0 and 1.
Target = dict[str, Tensor]
# An image `(3, S, S)` and its target.
Sample = tuple[Tensor, int | Tensor | Target]


def collate(samples: Sequence[tuple[Tensor, Target]]) -> tuple[Tensor, list[Target]]:
    """Stack images to `(B, 3, S, S)` and list their targets."""
    return torch.stack([image for image, _ in samples]), [target for _, target in samples]
