"""Compares the outputs of two files for the same images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Agreement:
    """Holds how well one network's classes agree with another's.

    Attributes:
        same: Share of the images with the same best class, 0 to 1.
        kl: Mean Kullback-Leibler divergence of the other's distribution from the reference's, in
            nats.
    """

    same: float
    kl: float


def agreement(reference: Tensor, other: Tensor) -> Agreement:
    """Compare logits `(B, classes)` of the same images."""
    expected, found = (F.log_softmax(each.double(), dim=1) for each in (reference, other))
    same = (reference.argmax(dim=1) == other.argmax(dim=1)).double().mean()
    kl = F.kl_div(found, expected, reduction="batchmean", log_target=True)
    return Agreement(float(same), float(kl))


def overlaps(reference: Tensor, other: Tensor) -> list[float]:
    """Return the share of what the reference keeps that the other keeps too, by location.

    Args:
        reference: `(B, S, patches)`, 1 = kept.
        other: Of the same shape.
    """
    both = (reference * other).sum(dim=(0, 2))
    return [float(share) for share in both / reference.sum(dim=(0, 2)).clamp(min=1)]


def in_batches(run: Callable[[Tensor], Outputs], images: Tensor, batch: int = 16) -> Outputs:
    """Return the outputs of `run` for all `images (n, 3, S, S)`, computed in batches."""
    parts = [run(part) for part in images.split(batch)]
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))
