"""Photographs that their EXIF tag turns: boxes and masks lie on the object all the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from src.datamodules.coco import Coco
from src.datamodules.masks import Masks
from src.errors import InputError

FACTS = {"network": "resnet18", "image_size": 64, "batch_size": 1, "num_workers": 0}
BOX = (8, 16, 24, 48)  # left, top, right, bottom of what is red, in the stored raster
ORIENTATION = 274
CASES = [
    *((orientation, (64, 48), False) for orientation in range(1, 9)),
    *((orientation, (64, 48), True) for orientation in (5, 6, 7, 8)),
    *((orientation, (64, 64), False) for orientation in (3, 6)),
]


def photograph(path: Path, orientation: int, size: tuple[int, int]) -> tuple[Image.Image, ...]:
    """Write a red rectangle on gray; return its mask as it is stored and as it is shown."""
    image = Image.new("RGB", size, (128, 128, 128))
    image.paste((255, 0, 0), BOX)
    mask = Image.new("L", size, 0)
    mask.paste(1, BOX)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif, quality=95)
    tagged = mask.copy()
    tagged.getexif()[ORIENTATION] = orientation
    return mask, ImageOps.exif_transpose(tagged)


def lies_on_red(image: torch.Tensor, mask: torch.Tensor) -> None:
    red = image[0] - image[2] > 1
    assert 400 < mask.sum() < 600
    assert (red == mask.bool()).float().mean() > 0.98


@pytest.mark.parametrize(("orientation", "size", "upright"), CASES)
def test_boxes(orientation: int, size: tuple[int, int], upright: bool, tmp_path: Path) -> None:
    masks = photograph(tmp_path / "val2017" / "0.jpg", orientation, size)
    drawn = masks[upright]
    left, top, right, bottom = drawn.getbbox() or ()
    outline = [left, top, right, top, right, bottom, left, bottom]
    content = {
        "images": [{"id": 1, "file_name": "0.jpg", "width": drawn.width, "height": drawn.height}],
        "categories": [{"id": 1, "name": "red"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [outline]}
            | {"bbox": [left, top, right - left, bottom - top]}
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    image, target = Coco(root=str(tmp_path), **FACTS).val_dataset()[0]
    lies_on_red(image, target["masks"][0])
    x, y = np.nonzero(target["masks"][0].numpy().T)
    assert target["boxes"][0].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize(("orientation", "size", "upright"), CASES)
def test_masks(orientation: int, size: tuple[int, int], upright: bool, tmp_path: Path) -> None:
    drawn = photograph(tmp_path / "images/validation/0.jpg", orientation, size)[upright]
    (tmp_path / "annotations/validation").mkdir(parents=True)
    drawn.save(tmp_path / "annotations/validation/0.png")
    data = Masks(root=str(tmp_path), num_classes=2, reduce_zero_label=False, **FACTS)
    image, target = data.val_dataset()[0]
    lies_on_red(image, target["mask"] == 1)


def test_a_mask_of_neither_size(tmp_path: Path) -> None:
    photograph(tmp_path / "images/validation/0.jpg", 6, (64, 48))
    (tmp_path / "annotations/validation").mkdir(parents=True)
    Image.new("L", (64, 40)).save(tmp_path / "annotations/validation/0.png")
    data = Masks(root=str(tmp_path), num_classes=2, reduce_zero_label=False, **FACTS)
    with pytest.raises(InputError, match=r"64x40 pixels, but its image .* is 64x48"):
        data.val_dataset()[0]
