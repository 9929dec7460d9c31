"""COCO's layout with faults that its data module finds: before the first step, or never."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from src.config import compose_config, instantiate
from src.datamodules.coco import Coco
from src.errors import InputError

FACTS = {"network": "resnet18", "image_size": 64, "batch_size": 2, "num_workers": 0}
SPLITS = ("train2017", "val2017")
BASE: dict[str, Any] = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 32} for i in range(3)],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [8 * i, 4, 20, 10]}
        for i in range(3)
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}


def write(root: Path, edit: Callable[[dict[str, Any], str], object] = lambda *_: None) -> Path:
    (root / "annotations").mkdir(parents=True)
    for split in SPLITS:
        (root / split).mkdir()
        for one in BASE["images"]:
            Image.new("RGB", (64, 32)).save(root / split / one["file_name"])
        content = copy.deepcopy(BASE)
        edit(content, split)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def coco(root: Path, **options: Any) -> Coco:
    return Coco(**{**FACTS, "root": str(root), **options})


def labels(data: Coco, training: bool) -> list[list[int]]:
    dataset = data.train_dataset() if training else data.val_dataset()
    return [dataset.read(index)[1]["labels"].tolist() for index in range(len(dataset))]


def swapped(content: dict[str, Any], split: str) -> None:
    """The same names under each other's ids, and the objects with them."""
    if split == "train2017":
        content["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
        for one in content["annotations"]:
            one["category_id"] = 3 - one["category_id"]


def shifted(content: dict[str, Any], split: str) -> None:
    """The same names under other ids."""
    if split == "train2017":
        for one in content["categories"]:
            one["id"] = 90 - one["id"]
        for one in content["annotations"]:
            one["category_id"] = 90 - one["category_id"]


def test_an_evaluation_labels_by_the_names_of_a_checkpoint(tmp_path: Path) -> None:
    data = coco(write(tmp_path / "root"))
    data.check("test")
    assert labels(data, training=False) == [[1], [2], [1]]
    data.adopt_classes(("background", "cow", "dog", "cat"))
    assert labels(data, training=False) == [[3], [2], [3]]
    assert data.num_classes == 4
    assert data.class_name(3) == "cat"


@pytest.mark.parametrize("edit", [lambda *_: None, swapped, shifted])
def test_labels_mean_the_same_names_in_both_splits(edit: Any, tmp_path: Path) -> None:
    data = coco(write(tmp_path, edit))
    data.check()
    assert data.class_names == ("background", "cat", "dog")
    assert data.class_name(2) == "dog"
    assert data.num_classes == 3
    assert labels(data, training=True) == labels(data, training=False) == [[1], [2], [1]]
    alone = coco(tmp_path)  # as evaluation reads it: the training file does not count
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    alone.check("test")
    assert labels(alone, training=False) == [[1], [2], [1]]


@pytest.mark.parametrize("split", SPLITS)
def test_images_that_are_missing_are_found_before_training(split: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / split / "1.jpg").unlink()
    with pytest.raises(InputError, match=rf"1 of the 3 images that .*{split}.* '1.jpg'\.$"):
        coco(tmp_path).check()


def test_label_studios_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def edit(content: dict[str, Any], split: str) -> None:
        for one in content["images"]:
            one["file_name"] = "images\\" + one["file_name"]

    data = coco(write(tmp_path, edit))
    data.check()
    data.setup("fit")
    assert len(list(data.val_dataloader())) == 2
    assert data.val_filenames() == ["images\\0.jpg", "images\\1.jpg", "images\\2.jpg"]
    assert len(caplog.messages) == 2  # once for each split
    assert "lists 3 images in subfolders that" in caplog.text


def test_clip_boxes_is_a_setting(tmp_path: Path) -> None:
    def edit(content: dict[str, Any], split: str) -> None:
        content["annotations"][0]["bbox"] = [50, 20, 100, 100]

    write(tmp_path, edit)
    with pytest.raises(InputError, match=r"datamodule\.clip_boxes=true"):
        coco(tmp_path).check()
    words = ["datamodule=coco", "datamodule.clip_boxes=true", "backbone=swin_micro"]
    settings = compose_config(words, ["datamodule"])["datamodule"]
    data = instantiate(settings | FACTS | {"root": str(tmp_path)})
    data.check()
    assert data.val_dataset()[0][1]["boxes"].tolist() == [[50, 20, 64, 32]]


def test_hostile_polygons_neither_crash_nor_fill_memory(tmp_path: Path) -> None:
    def edit(content: dict[str, Any], split: str) -> None:
        far = [[0, 0, 1e8, 0, 1e8, 1e8, 0, 1e8]]
        for one in content["annotations"]:
            one["segmentation"] = far

    write(tmp_path, edit)
    with pytest.raises(InputError, match="polygon outside its image"):
        coco(tmp_path).check()
    data = coco(tmp_path, clip_boxes=True)
    data.check()
    assert data.val_dataset()[0][1]["masks"].sum() == 64 * 32
