"""A list of photographs as a data module outside of the package."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.config import compose_config
from src.datamodules.base import ImageDataModule
from src.errors import InputError

from .csv_labels import CsvLabels

SIDE = 32
FOLDERS_ONLY = ("_target_", "dataset", "train_split", "val_split", "num_classes")
NAMED_ONLY = ("image_key", "label_key")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 12)):
        rows = []
        for number in range(count):
            name = f"{part}_{number}.png"
            pixels = rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name)
            rows.append(f"{name},{('owl', 'bee', 'cat')[number % 3]}\n")
        (tmp_path / f"{part}.csv").write_text("".join(rows))
    return tmp_path


def make(root: Path, **changes: object) -> ImageDataModule:
    settings = compose_config(["datamodule=imagenet", "backbone=vit_micro"], ["datamodule"])
    photos = {
        key: value
        for key, value in settings["datamodule"].items()
        if key not in (*FOLDERS_ONLY, *NAMED_ONLY)
    }
    small = {"root": root, "image_size": SIDE, "batch_size": 4, "num_workers": 0, "mixup": None}
    return CsvLabels(**photos | small | changes)


def ready(root: Path, **changes: object) -> ImageDataModule:
    data = make(root, **changes)
    data.check()
    data.setup("fit")
    return data


def labels_of(loader) -> list[int]:
    return torch.cat([labels for _, labels in loader]).tolist()


def test_sizes_labels_and_names(root):
    data = ready(root)
    assert data.num_classes == 3
    assert data.present_classes is None
    assert data.class_names == ("bee", "cat", "owl")
    assert data.class_name(2) == "owl"
    assert labels_of(data.val_dataloader()) == [2, 0, 1] * 4
    assert data.val_filenames() == [f"val_{number}.png" for number in range(12)]
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, SIDE, SIDE)
    assert labels.shape == (4,)
    assert len(data.train_dataloader()) == 5


def test_a_networks_classes_label_them(root):
    data = make(root)
    data.adopt_classes(["owl", "ant", "cat", "bee"])
    data.setup("test")
    assert data.num_classes == 4
    assert data.present_classes == (0, 2, 3)
    assert labels_of(data.test_dataloader()) == [0, 3, 2] * 4


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("train_0.png", r"Row 21 of .*train\.csv is \['train_0\.png'\]"),
        ("nowhere.png,owl", r"Row 21 of .*train\.csv is \['nowhere\.png', 'owl'\]"),
        ("train_0.png,fox", r"train\.csv has classes that val\.csv lacks: fox"),
    ],
)
def test_a_bad_row_is_one_sentence(root, row, said):
    with (root / "train.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(InputError, match=said) as caught:
        make(root).check()
    assert "\n" not in str(caught.value)
    make(root).check("test")


def test_a_networks_own_classes_all_occur(root):
    data = make(root)
    data.adopt_classes(["owl", "cat", "bee"])
    assert data.present_classes is None


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_missing_list_is_one_sentence_that_names_it(root, part):
    (root / f"{part}.csv").unlink()
    said = rf"{part}\.csv cannot be read \(No such file or directory\)"
    with pytest.raises(InputError, match=said):
        make(root).check()
    with pytest.raises(InputError, match=said):
        make(root).setup("fit")


def test_too_few_for_a_batch(root):
    with pytest.raises(InputError, match="more than the 20 training images"):
        make(root, batch_size=22).check()


def test_an_unreadable_photograph_is_an_error_or_left_out(root, caplog):
    (root / "val_4.png").write_text("I am no image")
    with pytest.raises(InputError, match=r"val_4\.png cannot be read as an image"):
        labels_of(ready(root, on_bad_image="error").val_dataloader())
    data = ready(root, on_bad_image="skip")
    assert labels_of(data.val_dataloader()) == [2, 0, 1, 2, 1, *[2, 0, 1] * 2]
    names = list(data.val_filenames())
    assert len(names) == 11
    assert "val_4.png" not in names
    with caplog.at_level(logging.WARNING):
        data.teardown("test")
    (said,) = caplog.messages
    assert said.startswith("1 of 12 images cannot be read and are left out: ")


def test_mixup_of_listed_photographs(root):
    assert ready(root, mixup={"mixup_alpha": 0.8}).num_classes == 3
