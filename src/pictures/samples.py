"""Picks images of a data set and runs a student on them, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ..datamodules.base import ImageDataModule
from ..datamodules.spread import spread_evenly
from ..errors import InputError
from ..measure.evaluating import evaluating
from ..modules.backbones.base import SparseBackbone, SparseOutput


@torch.inference_mode()
def inspect(student: SparseBackbone, images: Tensor) -> SparseOutput:
    """Run a student as at inference, whatever mode it is in."""
    with evaluating(student):
        output: SparseOutput = student(images)
    return output


def spread_images(dataset: Any, count: int) -> Tensor:
    """Return `count` images `(count, 3, S, S)` at equal distances through `dataset`, or clips.

    Fewer where a stream leaves unreadable ones out.
    """
    found = _found(dataset, spread_evenly(len(dataset), count))
    return torch.stack(list(found.values()))


def images_at(dataset: Any, numbers: Sequence[int]) -> Tensor:
    """Return images `(B, 3, S, S)` by their numbers, of a stream by passing over those before.

    Raises:
        InputError: If a stream ends before it has come so far.
    """
    found = _found(dataset, numbers)
    missing = [number for number in numbers if number not in found]
    if missing:
        raise InputError(
            f"images={list(numbers)} names image {missing[0]}, but the stream ends before it: "
            "images that are left out as unreadable have no number."
        )
    return torch.stack([found[number] for number in numbers])


def _found(dataset: Any, numbers: Sequence[int]) -> dict[int, Tensor]:
    if not isinstance(dataset, IterableDataset):
        return {number: _shown(dataset[number][0]) for number in numbers}
    passed = enumerate(islice(dataset, max(numbers) + 1))
    return {number: _shown(image) for number, (image, _) in passed if number in numbers}


def _shown(image: Tensor) -> Tensor:
    """Return the middle one of a clip's views `(V, 3, T, H, W)`; images stay as they are."""
    return image[len(image) // 2] if image.ndim == 5 else image


def numbered_images(data: ImageDataModule, numbers: Sequence[int] | None) -> Tensor:
    """Return validation images `(B, 3, S, S)` by their numbers; eight at equal distances for None.

    Raises:
        InputError: If there is no such image.
    """
    dataset: Any = data.val_dataset()  # all have a length
    if numbers is None:
        return spread_images(dataset, 8)
    valid = isinstance(numbers, Sequence) and all(isinstance(n, int) for n in numbers)
    if not valid or not numbers or not all(0 <= n < len(dataset) for n in numbers):
        raise InputError(
            f"images={numbers} must be a list of numbers from 0 to {len(dataset) - 1}, as [0,5]."
        )
    return images_at(dataset, numbers)
