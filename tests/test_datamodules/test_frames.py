"""Folders of masks and COCO's layout: frames that fit, and one sentence for what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.datamodules.coco import Coco
from src.datamodules.masks import Masks
from src.datamodules.targets import IGNORED
from src.errors import InputError

FACTS = {"network": "resnet18", "image_size": 64, "batch_size": 2, "num_workers": 0}
WIDTH, HEIGHT = 50, 40
POLYGON = [10.0, 20.0, 30.0, 20.0, 30.0, 35.0, 10.0, 35.0]


def write_image(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 50).convert("RGB").save(path)


def write_mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    for split in ("training", "validation"):
        for name in ("a", "b"):
            write_image(tmp_path / "images" / split / f"{name}.jpg")
            values = np.zeros((HEIGHT, WIDTH))
            values[:, 25:], values[:5] = 3, IGNORED
            write_mask(tmp_path / "annotations" / split / f"{name}.png", values)
    return tmp_path


def mask_data(root: Path | None, **options: Any) -> Masks:
    own: dict[str, Any] = {"root": root and str(root), "num_classes": 4, "reduce_zero_label": False}
    return Masks(**{**FACTS, **own, **options})


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for split in ("train2017", "val2017"):
        images = [
            {"id": 7 + i, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT}
            for i, name in enumerate("ab")
        ]
        for image in images:
            write_image(tmp_path / split / str(image["file_name"]))
        content = {
            "images": images,
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 20, 20, 15], "iscrowd": 0}
                | {"segmentation": [POLYGON]},
                {"id": 2, "image_id": 7, "category_id": 44, "bbox": [0, 0, 50, 10], "iscrowd": 1}
                | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 10, 1990]}},
            ],
            "categories": [{"id": 18, "name": "dog"}, {"id": 44, "name": "bottle"}],
        }
        path = tmp_path / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return tmp_path


def coco_data(root: Path | None, **options: Any) -> Coco:
    return Coco(**{**FACTS, "root": root and str(root), **options})


def test_masks_in_frames(masks: Path) -> None:
    data = mask_data(masks)
    data.check()
    data.setup("fit")
    images, targets = next(iter(data.val_dataloader()))
    assert images.shape == (2, 3, 64, 64)
    mask = targets[0]["mask"]  # 50x40 becomes 64x51, the rest is padding
    assert mask.dtype == torch.int64
    assert set(mask.unique().tolist()) == {0, 3, IGNORED}
    assert (mask[52:] == IGNORED).all()
    assert (images[0, :, 52:] == 0).all()
    assert mask[30, 10] == 0
    assert mask[30, 50] == 3
    assert mask[2, 30] == IGNORED
    for images, targets in data.train_dataloader():
        assert images.shape == (2, 3, 64, 64)
        assert set(targets[0]["mask"].unique().tolist()) <= {0, 3, IGNORED}


def test_zero_is_ignored_in_ade20k(masks: Path) -> None:
    dataset = mask_data(masks, reduce_zero_label=True, num_classes=3).val_dataset()
    mask = dataset[0][1]["mask"]
    assert mask[30, 10] == IGNORED
    assert mask[30, 50] == 2


def test_boxes_in_frames(coco: Path) -> None:
    data = coco_data(coco)
    data.check()
    data.setup("fit")
    assert data.num_classes == 3
    images, targets = next(iter(data.val_dataloader()))
    assert images.shape == (2, 3, 64, 64)
    first, empty = targets
    scale = 64 / WIDTH
    expected = torch.tensor([[10, 20, 30, 35], [0, 0, 50, 10]]) * scale
    torch.testing.assert_close(first["boxes"], expected, atol=0.5, rtol=0)
    assert first["labels"].tolist() == [1, 2]
    assert first["iscrowd"].tolist() == [0, 1]
    mask = first["masks"][0]
    assert mask.sum() == pytest.approx(20 * 15 * scale**2, rel=0.1)
    assert mask[round(27 * scale), round(20 * scale)] == 1
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape == (0, 64, 64)
    for _, targets in data.train_dataloader():
        for target in targets:
            assert not target["iscrowd"].any()  # crowds are not learned
            boxes = target["boxes"]
            assert ((boxes[:, 2:] - boxes[:, :2]) >= 1).all()
            assert len({len(value) for value in target.values()}) == 1


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def refused(call: Callable[[], object], *fragments: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert not re.search(r"[.!] [A-Z]", sentence)
    for fragment in fragments:
        assert fragment in sentence


def test_a_mask_with_an_index_out_of_range(masks: Path) -> None:
    dataset = mask_data(masks, num_classes=3).val_dataset()
    refused(lambda: dataset[0], str(masks / "annotations/validation/a.png"), "index 3", "0 to 2")


def test_a_mask_of_another_size(masks: Path) -> None:
    path = masks / "annotations" / "validation" / "b.png"
    write_mask(path, np.zeros((HEIGHT, WIDTH - 1)))
    dataset = mask_data(masks).val_dataset()
    refused(lambda: dataset[1], str(path), "49x40", "50x40")


def test_a_mask_of_several_channels(masks: Path) -> None:
    path = masks / "annotations" / "validation" / "a.png"
    write_image(path)
    refused(lambda: mask_data(masks).val_dataset()[0], str(path), "3 channels")


def test_an_image_without_a_mask(masks: Path) -> None:
    (masks / "annotations" / "training" / "b.png").unlink()
    refused(lambda: mask_data(masks).check(), "b.jpg has no mask", "b.png")


def test_a_mask_that_is_no_image(masks: Path) -> None:
    path = masks / "annotations" / "validation" / "a.png"
    path.write_text("text")
    refused(lambda: mask_data(masks).val_dataset()[0], str(path), "cannot be read")


def test_folders_that_are_missing(masks: Path, tmp_path: Path) -> None:
    refused(lambda: mask_data(None).check(), "datamodule.root is not set", "digits_scenes")
    refused(lambda: mask_data(masks / "x").check(), "There is no folder", "images/training")
    refused(lambda: coco_data(None).check(), "datamodule.root is not set", "digits_scenes")
    refused(lambda: coco_data(tmp_path / "x").check(), "There is no folder", "instances_")


def test_fewer_images_than_a_batch(masks: Path) -> None:
    refused(mask_data(masks, batch_size=3).check, "datamodule.batch_size=3", "2 training images")
    two = mask_data(masks, batch_size=2)
    refused(lambda: two.check(processes=2), "datamodule.batch_size=2 on 2 devices")


@pytest.mark.parametrize(
    ("box", "fragment"),
    [
        ([10, 20, 0, 15], "no area"),
        ([10, 20, 20, -1], "no area"),
        ([40, 20, 20, 15], "outside its image"),
        ([-5, 20, 20, 15], "outside its image"),
    ],
)
def test_a_box_that_cannot_be(coco: Path, box: list[float], fragment: str) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    change(path, lambda content: content["annotations"][0].update(bbox=box))
    refused(lambda: coco_data(coco).check(), str(path), "annotation 1", fragment, str(box))


def test_empty_boxes_may_be_dropped(coco: Path) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    change(path, lambda content: content["annotations"][0].update(bbox=[10, 20, 0, 15]))
    target = coco_data(coco, drop_empty_boxes=True).val_dataset()[0][1]
    assert target["labels"].tolist() == [2]


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_a_json_with_a_part_missing(coco: Path, part: str) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    change(path, lambda content: content.pop(part))
    refused(lambda: coco_data(coco).check("test"), str(path), f"has no {part}")


@pytest.mark.parametrize(
    ("key", "value", "fragment"),
    [("image_id", 99, "image 99"), ("category_id", 5, "category 5")],
)
def test_an_annotation_of_nothing(coco: Path, key: str, value: int, fragment: str) -> None:
    path = coco / "annotations" / "instances_train2017.json"
    change(path, lambda content: content["annotations"][0].update({key: value}))
    refused(lambda: coco_data(coco).check(), str(path), "annotation 1", fragment)


def test_no_json(coco: Path) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    path.write_text("{")
    refused(lambda: coco_data(coco).check(), str(path), "is not json")
    path.unlink()
    refused(lambda: coco_data(coco).check(), f"There is no file {path}")


def test_an_image_of_another_size_than_listed(coco: Path) -> None:
    write_image(coco / "val2017" / "a.jpg", (30, 30))
    refused(lambda: coco_data(coco).val_dataset()[0], "a.jpg is 30x30", "50x40")


def test_a_segmentation_of_another_format(coco: Path) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    change(path, lambda content: content["annotations"][0].update(segmentation=[[1, 2]]))
    refused(lambda: coco_data(coco).val_dataset()[0], str(path), "annotation 1")
