"""Scenes of several digits: pure functions of a seed, masks and boxes that fit what is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from src.datamodules.scenes import CrowdedDigits, CrowdedScenes


def scenes(**options: Any) -> CrowdedScenes:
    neutral = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    return CrowdedScenes(
        **{"train": True, "length": 8, "image_size": 96, "seed": 0, **neutral, **options}
    )


def test_a_scene_depends_on_nothing_but_seed_split_and_index() -> None:
    first, again = scenes(), scenes()
    again[5]
    assert torch.equal(first[3][0], again[3][0])
    assert torch.equal(first[3][1]["mask"], again[3][1]["mask"])
    for other in (scenes(seed=1)[3], scenes(train=False)[3], first[4]):
        assert not torch.equal(first[3][0], other[0])


@pytest.mark.parametrize("size", [64, 96, 224])
def test_masks_boxes_and_labels_agree(size: int) -> None:
    dataset, counts, labels = scenes(image_size=size), set(), set()
    for index in range(40):
        image, target = dataset[index]
        assert image.shape == (3, size, size)
        assert 0 <= image.min() <= image.max() <= 1
        boxes, masks = target["boxes"], target["masks"]
        counts.add(len(boxes))
        labels |= set(target["labels"].tolist())
        assert target["mask"].max() <= 10
        assert boxes.min() >= 0
        assert boxes.max() <= size
        for box, mask, label in zip(boxes.int().tolist(), masks, target["labels"], strict=True):
            left, top, right, bottom = box
            inside = mask[top:bottom, left:right]
            assert inside.sum() == mask.sum() > 0  # nothing outside its box ...
            assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            assert (target["mask"][mask > 0] == label).all()  # ... and no digit over another
        assert (target["mask"] > 0).sum() == masks.sum()
    assert counts <= {1, 2, 3, 4, 5}
    assert len(counts) > 2
    assert labels == set(range(1, 11))


def test_a_batch_is_images_and_their_targets_and_resumes() -> None:
    data = CrowdedDigits(
        network="resnet18",
        image_size=64,
        batch_size=3,
        num_workers=0,
        train_images=9,
        val_images=3,
        seed=0,
    )
    data.setup("fit")
    images, targets = next(iter(data.val_dataloader()))
    assert images.shape == (3, 3, 64, 64)
    assert len(targets) == 3
    assert data.num_classes == 11
    batches = [images for images, _ in data.train_dataloader()]
    data.load_state_dict({"epoch": 0, "batch": 2})
    rest = [images for images, _ in data.train_dataloader()]
    assert len(rest) == 1
    assert torch.equal(rest[0], batches[2])
