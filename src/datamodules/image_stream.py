"""Streams labelled images from an iterable data set of timm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from timm.data import IterableImageDataset
from torch import Tensor
from torch.utils.data import IterableDataset

from .labels import checked_label
from .photo_source import Transform


class ImageStream(IterableDataset[tuple[Tensor, int]]):
    """Yields an iterable data set of timm, with its shards in another order at each pass."""

    def __init__(
        self,
        dataset: IterableImageDataset,
        transform: Transform,
        num_workers: int,
        outputs: Sequence[int] | int | None = None,
    ) -> None:
        """Prepare timm's data set; `outputs` is as in `checked_label`."""
        self._outputs = outputs
        self.dataset = dataset
        self.dataset.transform = transform
        # Without loader processes this process loads; timm 1.0.22 would count none.
        self.dataset.set_loader_cfg(num_workers=max(1, num_workers))
        self.passes = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        # Workers are kept through all epochs, so each counts the passes itself.
        self.dataset.set_epoch(self.passes)
        self.passes += 1
        return (
            (
                image,
                checked_label(label, self._outputs, lambda: f"An image of {type(self).__name__}"),
            )
            for image, label in self.dataset
        )
