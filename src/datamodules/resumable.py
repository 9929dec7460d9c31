"""An epoch's order and draws as functions of seed, epoch and place: a run resumes exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler


@contextmanager
def drawn_from(*key: int) -> Iterator[None]:
    """Random numbers inside depend on `key` alone; those outside go on as if nothing were drawn."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            seed_all(*key)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_all(*key: int) -> None:
    """Seed Python, NumPy and PyTorch from whole numbers from 0."""
    words = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]))


class EpochSampler(DistributedSampler[Any]):
    """Index `e * length + i` for image i in epoch e, so that every epoch may draw it anew.

    The order is shuffled by seed and epoch, and shared out among processes. With repeated
    augmentation (Hoffer et al., CVPR 2020; DeiT's recipe) an epoch is as long, but of fewer images,
    each in several draws that fall to different processes.
    """

    def __init__(
        self,
        dataset: Any,
        rank: int = 0,
        replicas: int = 1,
        *,
        seed: int,
        shuffle: bool,
        repeats: int = 1,
    ) -> None:
        """Start at epoch 0; the Trainer calls `set_epoch` before every epoch.

        Args:
            dataset: Whose images are numbered.
            rank: Of this process.
            replicas: Processes.
            seed: Of the order.
            shuffle: Whether there is another order than the data set's.
            repeats: Draws of each image of an epoch.
        """
        super().__init__(
            dataset, num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed, drop_last=True
        )
        self.repeats = repeats
        self.skip = 0  # samples of this epoch that are done

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose images come next; another than before is whole."""
        if epoch != self.epoch:
            self.skip = 0
        super().set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        """What is left of the epoch."""
        length = len(self.dataset)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = (
            torch.randperm(length, generator=generator) if self.shuffle else torch.arange(length)
        )
        images = order.repeat_interleave(self.repeats)[: self.total_size]
        draws = self.epoch * self.repeats + torch.arange(len(images)) % self.repeats
        share = (draws * length + images)[self.rank :: self.num_replicas]
        return iter(share[self.skip :].tolist())


class ShareSampler(DistributedSampler[Any]):
    """Every replicas-th image from `rank` on: none twice, so that metrics are exact.

    PyTorch's own repeats images until all processes have equally many.
    """

    def __init__(self, dataset: Any, rank: int = 0, replicas: int = 1) -> None:
        """Share `dataset` in its order."""
        super().__init__(dataset, num_replicas=replicas, rank=rank, shuffle=False)
        self.share = range(rank, len(dataset), replicas)

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[int]:
        return iter(self.share)


class EpochDraws(Dataset[tuple[Tensor, int]]):
    """Images whose augmentation depends on seed and sampler's index, not on who loads them."""

    def __init__(self, dataset: Any, seed: int) -> None:
        """Wrap `dataset`, whose images are drawn from Python's, NumPy's and PyTorch's numbers."""
        self.dataset = dataset
        self.seed = seed
        self.collate = getattr(dataset, "collate", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Image `index % length` as epoch `index // length` draws it."""
        with drawn_from(self.seed, index):
            image: tuple[Tensor, int] = self.dataset[index % len(self.dataset)]
        return image


class ResumableLoader(DataLoader[Any]):
    """A loader over an `EpochSampler`; the data module, which makes it, knows where it stands.

    These two methods tell Lightning that training may resume within an epoch.
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing of its own."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""
