"""Runs files on evaluation batches, in calls of one size and on all views of a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ..modules.video import mean_of_views
from .agreement import Outputs

_VIEWED = 6  # dimensions of the views of clips, (B, V, 3, T, H, W)


def outputs_of(
    runs: Sequence[Callable[[Tensor], Outputs]],
    batches: Iterable[tuple[Tensor, Tensor]],
    size: int,
) -> tuple[list[list[Tensor]], Tensor]:
    """Run files on all images of `batches`, `size` in a call, whatever the batches are.

    Each view of a clip is an image of its own in a call, and a clip has the mean of its views'
    probabilities.

    Args:
        runs: From images to outputs, logits `(B, classes)` first.
        batches: Images `(B, 3, S, S)`, clips `(B, 3, T, S, S)` or views `(B, V, 3, T, S, S)`, and
            labels `(B,)`.
        size: Images in a call; the last call may have fewer.

    Returns:
        For each file its outputs, logits `(n, classes)` first, and the labels `(n,)`.
    """
    labels: list[Tensor] = []
    views = 0  # of a clip; 0 where there are none

    def inputs() -> Iterator[Tensor]:
        nonlocal views
        for images, label in batches:
            labels.append(label)
            views = images.shape[1] if images.ndim == _VIEWED else 0
            yield images.flatten(0, 1) if views else images

    found: list[list[Outputs]] = [[] for _ in runs]
    for images in _of_one_size(inputs(), size):
        for run, outputs in zip(runs, found, strict=True):
            outputs.append(run(images))
    joined = [[torch.cat(each) for each in zip(*outputs, strict=True)] for outputs in found]
    if views:
        joined = [[mean_of_views(logits, views), *others] for logits, *others in joined]
    return joined, torch.cat(labels)


def _of_one_size(parts: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Yield the images of `parts` in batches of `size`; the last one may have fewer."""
    waiting: Tensor | None = None
    for part in parts:
        waiting = part if waiting is None else torch.cat([waiting, part])
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting is not None and len(waiting):
        yield waiting
