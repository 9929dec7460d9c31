"""An epoch that was begun with other batches goes on behind the same images."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from src.datamodules.loading import Loaders
from src.datamodules.resumable import ResumableLoader

IMAGES = 48


class Numbers(Dataset):
    """Images that are their numbers."""

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> int:
        return index


def loaders(size: int, processes: int = 1, **options: float) -> list[ResumableLoader]:
    """Of each process."""
    start = options.pop("start", {"epoch": 0, "batch": 0})
    places = [Loaders(size, 0, 42, rank, processes, **options) for rank in range(processes)]
    return [place.shuffled(Numbers(), start, 1) for place in places]


def images(loader: ResumableLoader, batches: int | None = None) -> list[int]:
    return torch.cat([*loader][:batches]).tolist()


def begun(batch: int, size: int, processes: int = 1) -> dict[str, int]:
    """The position behind `batch` batches, as a checkpoint has it."""
    batches = IMAGES // processes // size
    seen = batch * size * processes
    return {"epoch": 0, "batch": batch, "batches": batches, "images": seen}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("former", [1, 2])
def test_images_that_were_seen_are_left_out(size, processes, former):
    start = begun(3, 4, former)
    seen = [image for one in loaders(4, former) for image in images(one, 3)]
    resumed = loaders(size, processes, start=start)
    rest = [image for one in resumed for image in images(one)]
    assert set(seen) | set(rest) == set(range(IMAGES))
    twice = len(seen) + len(rest) - IMAGES
    assert 0 <= twice < size * processes
    assert twice == 0 or len(seen) % (size * processes)
    (behind,) = {one.behind for one in resumed}
    assert behind == len(seen) // (size * processes)
    assert all(len([*one]) == len(one) - behind for one in resumed)


def test_whole_steps_are_left_out():
    (loader,) = loaders(2, start=begun(5, 4), accumulated=4)
    assert loader.behind == 8  # of the ten batches that 20 images are
    assert len(images(loader)) == IMAGES - 16


@pytest.mark.parametrize(("limit", "behind"), [(6, 3), (0.5, 6)])
def test_a_part_of_a_shortened_epoch_is_left_out(limit, behind):
    """With a limit in batches, an epoch has as many of them whatever their size."""
    start = begun(3, 4) | {"batches": 6}
    (loader,) = loaders(2, start=start, limit=limit)
    assert loader.behind == behind
    assert images(loader, 1)[0] == images(loaders(4)[0])[12]


def test_former_checkpoints_go_on_as_before():
    (loader,) = loaders(4, start={"epoch": 0, "batch": 3})
    assert loader.behind == 3
    assert images(loader) == images(loaders(4)[0])[12:]
