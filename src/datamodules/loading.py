"""Builds the loaders of training and validation images, in order and shared among processes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler
from typing_extensions import NotRequired

from ..errors import InputError
from ..shell.stopping import follow_parent_alone
from .resumable import EpochDraws, EpochSampler, PartSampler, ResumableLoader, ShareSampler
from .spread import spread_evenly
from .targets import Sample


class LoadingSettings(TypedDict):
    """Types the arguments of `ImageDataModule`, which its subclasses pass on."""

    network: str
    image_size: int
    batch_size: int
    num_workers: int | None
    repeats: NotRequired[int]
    seed: NotRequired[int]


@dataclass(frozen=True)
class Loaders:
    """Builds loaders that differ in data set and order alone.

    A data set may have its own `collate` and, for evaluation, its own `loader_class`; one whose
    files hold several images each has `lengths`, the number of images of each file. An
    `IterableDataset` has its own order, and distributes its images among processes itself.

    Attributes:
        batch_size: Images per step on one device.
        num_workers: Loader processes; 0 loads in the main process.
        seed: Seed of order and augmentation.
        rank: Number of this process among those that train together.
        processes: How many train together.
        accumulated: Batches of an optimizer step.
        limit: As a Trainer's `limit_train_batches`: batches of an epoch at most, or a share of all.
    """

    batch_size: int
    num_workers: int
    seed: int
    rank: int = 0
    processes: int = 1
    accumulated: int = 1
    limit: float = 1.0

    def shuffled(
        self, dataset: Dataset[Sample], start: Mapping[str, int], repeats: int
    ) -> DataLoader[Sample]:
        """Load training batches of equal size in an order that a resumed run repeats.

        A stream starts from its beginning.

        Args:
            dataset: The data set, whose images may be augmented at random.
            start: As `progress_of` returns it.
            repeats: Draws of each image in an epoch.
        """
        if isinstance(dataset, IterableDataset):
            return self._loader(dataset, _own_class(dataset), drop_last=True)
        lengths: Sequence[int] | None = getattr(dataset, "lengths", None)
        draws = EpochDraws(dataset, self.seed)
        place = (draws, self.rank, self.processes)
        if lengths is None:
            return self._resumable(
                EpochSampler(*place, seed=self.seed, shuffle=True, repeats=repeats), start
            )
        return self._resumable(
            PartSampler(*place, lengths=lengths, seed=self.seed, repeats=repeats), start
        )

    def unshuffled(self, dataset: Dataset[Sample], start: Mapping[str, int]) -> DataLoader[Sample]:
        """Load training batches of a data set that has further images beyond its length.

        Epoch e gets those from `e * length` on; `start` is as in `shuffled`.
        """
        place = (dataset, self.rank, self.processes)
        return self._resumable(EpochSampler(*place, seed=self.seed, shuffle=False), start)

    def shared(self, dataset: Dataset[Sample]) -> DataLoader[Sample]:
        """Load all validation images in order, each on one process."""
        own = _own_class(dataset)
        if isinstance(dataset, IterableDataset):
            return self._loader(dataset, own)
        return self._loader(dataset, own, ShareSampler(dataset, self.rank, self.processes))

    def spread(self, dataset: Dataset[Sample], images: int) -> DataLoader[Sample]:
        """Load `images` of a data set or all it has, spread evenly, each on one process.

        Raises:
            InputError: If it is a stream.
        """
        if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
            raise InputError(
                "Neighbors cannot be looked up in data that comes as a stream: give folders, or "
                "task.bank_images=0 for the cosine alone."
            )
        chosen = spread_evenly(len(dataset), images)
        return self._loader(dataset, _own_class(dataset), chosen[self.rank :: self.processes])

    def _resumable(self, sampler: EpochSampler, start: Mapping[str, int]) -> DataLoader[Sample]:
        sampler.set_epoch(start["epoch"])
        loader = self._loader(sampler.dataset, ResumableLoader, sampler, drop_last=True)
        assert isinstance(loader, ResumableLoader)
        if start["batch"]:
            loader.behind, sampler.skip = self._behind(start, len(sampler))
        return loader

    def _behind(self, start: Mapping[str, int], images: int) -> tuple[int, int]:
        """Return how many batches and images of this process's epoch are done at `start`.

        Where batches have another size than they had, or their number is another one, as large a
        part of the epoch is done, in whole optimizer steps: less than one is trained again.

        Args:
            start: As `progress_of` returns it; former checkpoints say no more than `batch`.
            images: Of an epoch of this process.
        """
        done = start["batch"]
        if not start.get("batches"):
            return done, done * self.batch_size
        full, limit = images // self.batch_size, self.limit
        batches = min(full, limit) if isinstance(limit, int) else int(full * limit)
        steps = done * batches // (start["batches"] * self.accumulated)
        behind = steps * self.accumulated
        left = (batches - behind) * self.batch_size
        return behind, min(start["images"] // self.processes, images - left)

    def _loader(
        self,
        dataset: Dataset[Sample],
        kind: type[DataLoader[Sample]],
        sampler: Sampler[int] | Sequence[int] | None = None,
        *,
        drop_last: bool = False,
    ) -> DataLoader[Sample]:
        return kind(
            dataset,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=getattr(dataset, "collate", None),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=follow_parent_alone,
            generator=torch.Generator().manual_seed(
                self.seed
            ),  # so that the global one is not used
        )


def _own_class(dataset: Dataset[Sample]) -> type[DataLoader[Sample]]:
    own: type[DataLoader[Sample]] = getattr(dataset, "loader_class", DataLoader)
    return own


def cores() -> int:
    """Return how many cores this process may use, its share among those of a launch; at most 16."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        available = os.cpu_count() or 1
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) or 1
    return max(1, min(16, available // processes))
