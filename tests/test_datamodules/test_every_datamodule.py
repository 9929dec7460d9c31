"""Every data module of `conf/datamodule` that draws its images gives what it declares."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

from src.config import CONF, compose_config, instantiate, option
from src.datamodules.base import ImageDataModule
from src.datamodules.label_sets import LABELS

BATCH = 4


def settings_of(name: str) -> dict[str, Any]:
    words = [f"datamodule={name}", "backbone=vit_micro"]
    settings: dict[str, Any] = compose_config(words, ["datamodule"])["datamodule"]
    return settings


def draws(name: str) -> bool:
    """Return whether a file, or one that it builds on, asks for no folder."""
    lines = (CONF / "datamodule" / f"{name}.yaml").read_text().splitlines()
    bases = [line.strip(" -") for line in lines if line.startswith("  - ")]
    return "root" not in option("datamodule", name) and all(
        draws(base) for base in bases if base != "_self_"
    )


NAMES = [
    name for name in sorted(p.stem for p in (CONF / "datamodule").glob("*.yaml")) if draws(name)
]


@cache
def data_of(name: str, seed: int = 0) -> ImageDataModule:
    few = {"batch_size": BATCH, "num_workers": 0, "train_images": 8, "val_images": 5, "seed": seed}
    data: ImageDataModule = instantiate({**settings_of(name), **few})
    data.check()
    data.setup("fit")
    return data


def flat(value: object) -> list[Tensor]:
    """List the tensors of a batch in order."""
    if isinstance(value, Tensor):
        return [value]
    entries = value.values() if isinstance(value, dict) else value
    assert isinstance(entries, (list, tuple)) or isinstance(value, dict)
    return list(chain.from_iterable(map(flat, entries)))


def test_the_embedded_data_are_found() -> None:
    assert {"digits", "digits_scenes", "digits_sets", "few_digits"} <= set(NAMES)
    assert not {"imagenet", "coco", "ade20k", "masks", "labels_csv"} & set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_batches_have_the_declared_shapes(name: str) -> None:
    data = data_of(name)
    for loader, sizes in ((data.train_dataloader(), [4, 4]), (data.val_dataloader(), [4, 1])):
        batches = list(loader)
        assert [len(images) for images, _ in batches] == sizes
        for images, target in batches:
            assert 3 in images.shape[1:3]  # after the views of a clip
            assert images.shape[-2:] == (data.image_size, data.image_size)
            assert images.isfinite().all()
            assert len(target) == len(images)
            check_target(data, target)


def check_target(data: ImageDataModule, target: Any) -> None:
    if data.targets == ("label",):
        assert target.dtype == torch.int64
        assert ((target >= 0) & (target < data.num_classes)).all()
    elif data.targets == (LABELS,):
        assert target.shape[1:] == (data.num_classes,)
    for one in target:
        if "mask" in data.targets:
            assert one["mask"].shape == (data.image_size, data.image_size)
        if "boxes" in data.targets:
            assert one["boxes"].shape == (len(one["labels"]), 4)
            assert one["masks"].shape == (len(one["labels"]), data.image_size, data.image_size)
            assert ((one["labels"] >= 1) & (one["labels"] < data.num_classes)).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_output_has_a_name_and_every_target_words(name: str) -> None:
    data = data_of(name)
    assert data.class_names is not None
    assert len(set(data.class_names)) == data.num_classes > 1
    assert [data.class_name(label) for label in range(data.num_classes)] == list(data.class_names)
    assert data.targets
    assert set(data.targets) <= {*data.target_words, "boxes"}


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_training_images_alone(name: str) -> None:
    one, again, other = data_of(name), data_of.__wrapped__(name), data_of(name, seed=1)
    batches = [flat(next(iter(data.train_dataloader()))) for data in (one, again, other)]
    assert all(map(torch.equal, batches[0], batches[1]))
    assert not torch.equal(batches[0][0], batches[2][0])
    batches = [flat(next(iter(data.val_dataloader()))) for data in (one, other)]
    assert all(map(torch.equal, *batches))
