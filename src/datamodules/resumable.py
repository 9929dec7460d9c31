"""Derives an epoch's order and random draws from its seed, so that a run resumes exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from typing_extensions import override

from ..lightning_internals import batches_trained, epoch_in_progress
from .targets import Sample


@contextmanager
def drawn_from(*key: int) -> Iterator[None]:
    """Make random numbers inside depend on `key` alone, and leave those outside unaffected."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            seed_all(*key)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_all(*key: int) -> None:
    """Seed Python, NumPy and PyTorch from a key of whole numbers from 0."""
    words = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]))


class EpochSampler(DistributedSampler[int]):
    """Yields index `e * length + i` for image i in epoch e, so that each epoch may draw it anew.

    The order is shuffled by seed and epoch, and distributed among processes. With repeated
    augmentation (Hoffer et al., CVPR 2020; DeiT's recipe) an epoch is as long, but has fewer
    images, each drawn several times on different processes.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        rank: int = 0,
        replicas: int = 1,
        *,
        seed: int,
        shuffle: bool,
        repeats: int = 1,
    ) -> None:
        """Start at epoch 0; the Trainer calls `set_epoch` before every epoch.

        Args:
            dataset: The data set whose images are numbered.
            rank: Number of this process.
            replicas: How many processes train together.
            seed: Seed of the order.
            shuffle: Whether the order is random; else it is the data set's.
            repeats: Draws of each image of an epoch.
        """
        super().__init__(
            dataset, num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed, drop_last=True
        )
        self.repeats = repeats
        self.skip = 0  # samples of this epoch that have been used

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose images come next; a new one starts from its first image."""
        if epoch != self.epoch:
            self.skip = 0
        super().set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices that are left of the epoch."""
        length = _length(self.dataset)
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = self._shuffled(length, generator) if self.shuffle else torch.arange(length)
        images = order.repeat_interleave(self.repeats)[: self.total_size]
        draws = self.epoch * self.repeats + torch.arange(len(images)) % self.repeats
        share = self._share(draws * length + images)
        return iter(share[self.skip :].tolist())

    def _shuffled(self, length: int, generator: torch.Generator) -> Tensor:
        """Return the images of an epoch `(length,)` in the order in which they are drawn."""
        return torch.randperm(length, generator=generator)

    def _share(self, indices: Tensor) -> Tensor:
        """Return the indices of this process; each process gets equally many."""
        return indices[self.rank :: self.num_replicas]


class PartSampler(EpochSampler):
    """Yields images of files that hold several each, so that few files are in use at a time.

    Each epoch shuffles the files, and then the images within stretches of `WINDOW`. Each process
    gets one contiguous part, whatever the number of loader processes.
    """

    WINDOW = 10_000

    def __init__(
        self,
        dataset: Dataset[Sample],
        rank: int = 0,
        replicas: int = 1,
        *,
        lengths: Sequence[int],
        seed: int,
        repeats: int = 1,
    ) -> None:
        """Start at epoch 0; `lengths` are the numbers of images of each file, the rest as above."""
        super().__init__(dataset, rank, replicas, seed=seed, shuffle=True, repeats=repeats)
        self.lengths = torch.tensor(lengths)

    @override
    def _shuffled(self, length: int, generator: torch.Generator) -> Tensor:
        files = torch.randperm(len(self.lengths), generator=generator)
        parts = torch.arange(length).split(self.lengths.tolist())
        order = torch.cat([parts[file] for file in files])
        return torch.cat(
            [
                part[torch.randperm(len(part), generator=generator)]
                for part in order.split(self.WINDOW)
            ]
        )

    @override
    def _share(self, indices: Tensor) -> Tensor:
        return indices.view(self.num_replicas, -1)[self.rank]


class ShareSampler(DistributedSampler[int]):
    """Yields every `replicas`-th image from `rank` on, none twice, so that metrics are exact.

    PyTorch's own sampler repeats images until all processes have equally many.
    """

    def __init__(self, dataset: Dataset[Sample], rank: int = 0, replicas: int = 1) -> None:
        """Share `dataset` in its order."""
        super().__init__(dataset, num_replicas=replicas, rank=rank, shuffle=False)
        self.share = range(rank, _length(dataset), replicas)

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[int]:
        return iter(self.share)


class EpochDraws(Dataset[Sample]):
    """Augments each image by seed and index alone, whichever process loads it."""

    def __init__(self, dataset: Dataset[Sample], seed: int) -> None:
        """Wrap `dataset`, which may draw random numbers from Python, NumPy and PyTorch."""
        self.dataset = dataset
        self.seed = seed
        self.collate = getattr(dataset, "collate", None)

    def __len__(self) -> int:
        return _length(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return image `index % length` as epoch `index // length` draws it."""
        with drawn_from(self.seed, index):
            return self.dataset[index % len(self)]


class ResumableLoader(DataLoader[Sample]):
    """Loads by an `EpochSampler`; the data module stores the training's position.

    The two methods tell Lightning that training may resume within an epoch.
    """

    behind: int | None = None  # batches that are done, of an epoch that is resumed within

    def state_dict(self) -> dict[str, int]:
        """Return an empty state; the data module stores the position."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Ignore the empty state."""


def progress_of(trainer: L.Trainer, batch_size: int) -> dict[str, int]:
    """Return the `epoch` that training is in, and how many of its batches (`batch`) are done.

    Within an epoch also of how many `batches`, and how many `images` of all processes were in them;
    of a stream nobody knows.
    """
    epoch, batch = epoch_in_progress(trainer), batches_trained(trainer)
    batches = trainer.num_training_batches
    if batch >= batches:
        return {"epoch": epoch + 1, "batch": 0}
    place = {"epoch": epoch, "batch": batch}
    if batch == 0 or not isinstance(batches, int):
        return place
    return place | {"batches": batches, "images": batch * batch_size * trainer.world_size}


def _length(dataset: Dataset[Sample]) -> int:
    assert isinstance(dataset, Sized)
    return len(dataset)
