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

    The order is shuffled by seed and epoch, and shared out among processes.
    """

    def __init__(
        self, dataset: Any, *, seed: int, shuffle: bool, rank: int = 0, replicas: int = 1
    ) -> None:
        """Start at epoch 0; the Trainer calls `set_epoch` before every epoch."""
        super().__init__(
            dataset, num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed, drop_last=True
        )
        self.skip = 0  # samples of this epoch that are done

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose images come next; another than before is whole."""
        if epoch != self.epoch:
            self.skip = 0
        super().set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        """What is left of the epoch."""
        first = self.epoch * len(self.dataset)  # type: ignore[arg-type]
        return iter([first + index for index in super().__iter__()][self.skip :])


class EpochDraws(Dataset[tuple[Tensor, int]]):
    """Images whose augmentation depends on seed and sampler's index, not on who loads them."""

    def __init__(self, dataset: Any, seed: int) -> None:
        """Wrap `dataset`, whose images are drawn from Python's, NumPy's and PyTorch's numbers."""
        self.dataset = dataset
        self.seed = seed

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
