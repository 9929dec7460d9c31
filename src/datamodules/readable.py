"""Leaves out images that cannot be read (`datamodule.on_bad_image=skip`) or have no label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ..errors import InputError, some
from .labelled import ImageInputError, UnlabelledImage
from .targets import Sample

_MOST = 0.1  # share of a split; if more is unreadable, something else is wrong, such as the disk


class LabelledSamples(Protocol):
    """Reads samples with a label each, by number; raises `ImageInputError` where one is damaged."""

    kind: str  # their name in messages, in the plural
    lengths: Sequence[int] | None  # samples of each file, where files hold several

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, int]: ...

    def name(self, index: int) -> str:
        """Return a sample's file, or its number where samples are not files."""


class Unreadable:
    """Records, for all loader processes, which images of a split cannot be read."""

    def __init__(self, images: LabelledSamples) -> None:
        """Start with none."""
        self.images = images
        self.flags = torch.zeros(len(images), dtype=torch.bool).share_memory_()

    def add(self, index: int) -> None:
        """Record an image that cannot be read.

        Raises:
            InputError: If there are too many to go on without them.
        """
        self.flags[index] = True
        count = int(self.flags.sum())
        if count == len(self.flags) or count > max(1, _MOST * len(self.flags)):
            raise InputError(
                f"{count} of {len(self.flags)} {self.images.kind} cannot be read, as "
                f"{self.images.name(index)}: datamodule.on_bad_image=skip leaves out up "
                f"to {_MOST:.0%} of them."
            )

    def summary(self) -> str | None:
        """Return a sentence on how many were left out, and which; None if all could be read."""
        names = [self.images.name(i) for i in self.flags.nonzero().flatten().tolist()]
        if not names:
            return None
        count = f"{len(names)} of {len(self.flags)}"
        return f"{count} {self.images.kind} cannot be read and are left out: {some(names)}."

    def others(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the `names` of images, without those that turned out unreadable when loaded."""
        return (name for index, name in enumerate(names) if not self.flags[index])


class ReadableLoader(DataLoader[Sample]):
    """Skips a batch of which no image can be read."""

    def __iter__(self) -> Iterator[list[Tensor]]:  # type: ignore[override]
        return (batch for batch in super().__iter__() if batch is not None)


def collate(samples: list[tuple[Tensor, int]]) -> list[Tensor] | None:
    """Stack images `(B, 3, S, S)`, or clips, and labels `(B,)`; None for no samples."""
    if not samples:
        return None
    batch: list[Tensor] = default_collate(samples)
    return batch


class ReadableImages(Dataset[tuple[Tensor, int]]):
    """Provides labelled samples without those that cannot be read, or have no label.

    For a single index (training, pictures) the next readable sample takes the place of one that is
    left out, so that an index means the same sample in every run. A batch of indices (evaluation)
    comes without them, so that no sample counts twice.
    """

    loader_class = ReadableLoader
    collate = staticmethod(collate)

    def __init__(self, images: LabelledSamples, unreadable: Unreadable | None) -> None:
        """Wrap `images`; `unreadable` records those that cannot be read, None refuses them."""
        self.images = images
        self.lengths = images.lengths
        self.unreadable = unreadable

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        for number in range(index, index + len(self)):
            if (sample := self._read(number % len(self))) is not None:
                return sample
        raise InputError(
            f"None of {len(self)} images has a label, as {self.images.name(index)}: give another "
            "datamodule.label_key."
        )

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Return the samples of a batch, as PyTorch's loaders ask for them."""
        samples = [self._read(index) for index in indices]
        return [sample for sample in samples if sample is not None]

    def _read(self, index: int) -> tuple[Tensor, int] | None:
        try:
            return self.images[index]
        except UnlabelledImage:
            return None
        except ImageInputError:
            if self.unreadable is None:
                raise
            self.unreadable.add(index)
            return None
