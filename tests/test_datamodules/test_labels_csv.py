"""Photographs with any number of classes each, from csv files in both of their ways."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.config import compose_config
from src.datamodules.label_lists import read_listing
from src.datamodules.labels_csv import LabelsCsv
from src.errors import InputError
from src.modules.multilabel_losses import is_known

LISTED = {
    "train": "path,labels\n0.png,owl|bee\n1.png,cat\n2.png,\n3.png,bee; owl\n",
    "val": "path,labels\n4.png,cat|owl\n5.png,bee\nsub/6.png,\n",
}
MARKED = {
    "train": "path,owl,bee,cat\n0.png,1,1,0\n1.png,0,,1\n2.png,0,0,-1\n3.png,1,1,0\n",
    "val": "path,owl,bee,cat\n4.png,1.0,0,1\n5.png,0,1,\nsub/6.png,0,0,0\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "sub").mkdir()
    for name in ("0", "1", "2", "3", "4", "5", "sub/6"):
        pixels = rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    write(tmp_path, LISTED)
    return tmp_path


def write(root: Path, lists: dict[str, str]) -> None:
    for part, text in lists.items():
        (root / f"{part}.csv").write_text(text, encoding="utf-8")


def make(root: Path | None, **changes: object) -> LabelsCsv:
    words = ["task=multilabel", "datamodule=labels_csv", "backbone=vit_micro"]
    settings = compose_config(words, ["datamodule"])["datamodule"]
    del settings["_target_"]
    small = {"root": root, "image_size": 32, "batch_size": 2, "num_workers": 0}
    return LabelsCsv(**settings | small | changes)


def validated(data: LabelsCsv) -> torch.Tensor:
    data.check("test")
    data.setup("test")
    return torch.cat([labels for _, labels in data.val_dataloader()])


def test_names_between_bars(root: Path) -> None:
    data = make(root)
    assert validated(data).tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert data.class_names == ("bee", "cat", "owl")
    assert data.num_classes == 3
    assert data.present_classes is None
    assert list(data.val_filenames()) == ["4.png", "5.png", "sub/6.png"]
    data.check()
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (2, 3, 32, 32)
    assert labels.shape == (2, 3)
    assert labels.is_floating_point()
    listing = read_listing(root / "train.csv")
    assert listing.labels == [{"owl": 1, "bee": 1}, {"cat": 1}, {}, {"bee": 1, "owl": 1}]


def test_a_column_for_each_class(root: Path) -> None:
    write(root, MARKED)
    data = make(root)
    labels = validated(data)
    assert data.class_names == ("bee", "cat", "owl")
    assert labels[:, [0, 2]].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert is_known(labels).tolist() == [[True] * 3, [True, False, True], [True] * 3]


def test_a_validation_list_may_lack_classes(root: Path) -> None:
    """Not to be named means 0 where names are listed, and unknown where there is no column."""
    write(root, {"val": "path,labels\n4.png,owl\n5.png,bee\n"})
    data = make(root)
    assert validated(data).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert data.present_classes == (0, 2)
    write(root, {"val": "path,owl\n4.png,1\n5.png,0\n"})
    assert is_known(validated(make(root))).tolist() == [[False, False, True]] * 2


def test_a_networks_classes_label_them(root: Path) -> None:
    (root / "train.csv").unlink()
    data = make(root)
    data.check("test")
    data.adopt_classes(["owl", "ant", "cat", "bee"])
    assert validated(data).tolist() == [[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert data.present_classes == (0, 2, 3)


BAD = {
    "no header": ("4.png,owl\n", r"val\.csv has the header '4\.png,owl': write path,labels, or"),
    "one column": ("path\n4.png\n", "has the header 'path'"),
    "a class twice": ("path,owl,owl\n", "has the header 'path,owl,owl'"),
    "an empty file": ("", "has the header ''"),
    "no photograph": ("path,labels\n", "val.csv does not name a photograph"),
    "no class": ("path,labels\n4.png,\n", "val.csv does not name a class"),
    "an empty line": ("path,labels\n4.png,owl\n\n5.png,owl\n", "Line 3 of .*val.csv is empty"),
    "an empty row": ("path,labels\n,\n4.png,owl\n", "Line 2 of .*val.csv is empty"),
    "no path": ("path,labels\n,owl\n", "Line 2 of .*is ',owl': write a path and 1 more field,"),
    "too many": ("path,labels\n4.png,owl,cat\n", "Line 2 of .*is '4.png,owl,cat'"),
    "an empty name": ("path,labels\n4.png,owl||cat\n", r"has the labels 'owl\|\|cat'"),
    "no mark": ("path,owl,cat\n4.png,1,yes\n", "Line 2 of .*has 'yes' for cat: write 1, 0, or"),
    "another class": (
        "path,labels\n4.png,fox\n",
        r"val.csv has classes that .*train.csv lacks \(fox",
    ),
    "a missing one": ("path,labels\n9.png,owl\n", r"that are not there \(.*9\.png\)"),
    "a quote": ('path,labels\n"4.png,owl\n', "val.csv cannot be read as csv in UTF-8: "),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_list_is_one_sentence(root: Path, case: str) -> None:
    text, said = BAD[case]
    write(root, {"val": text})
    with pytest.raises(InputError, match=said) as caught:
        make(root).check()
    (sentence,) = caught.value.sentences
    assert "\n" not in sentence


def test_what_is_no_file_is_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"datamodule\.root=null is not a folder"):
        make(None).check()
    with pytest.raises(InputError, match=r"datamodule\.val_csv=no\.csv is not a file in"):
        make(root, val_csv="no.csv").check()
    with pytest.raises(InputError, match=r"datamodule\.train_csv=no\.csv is not a file in"):
        make(root, train_csv="no.csv").check()
    make(root, train_csv="no.csv").check("test")
    (root / "val.csv").write_bytes(b"path,labels\n\xff.png,owl\n")
    with pytest.raises(InputError, match="cannot be read as csv in UTF-8"):
        make(root).check("test")


def test_other_programs_files_are_read(root: Path) -> None:
    """Excel's mark in front, its line ends, and space around fields."""
    text = LISTED["val"].replace("\n", "\r\n").replace("owl", " owl ").replace("5.png,", "5.png, ")
    (root / "val.csv").write_text(text, encoding="utf-8-sig", newline="")
    assert validated(make(root)).tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("I am no image")])
def test_a_photograph_is_missed_or_left_out(root: Path, caplog, damage) -> None:
    damage(root / "5.png")
    with pytest.raises(InputError, match=re.escape("5.png")):
        make(root).check()
    data = make(root, on_bad_image="skip")
    assert validated(data).tolist() == [[0, 1, 1], [0, 0, 0]]
    assert list(data.val_filenames()) == ["4.png", "sub/6.png"]
    with caplog.at_level(logging.WARNING):
        data.teardown("test")
    assert caplog.messages[0].startswith("1 of 3 images cannot be read and are left out: ")


def test_mixing_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="mixes images of one label each"):
        make(root, mixup={"mixup_alpha": 0.8})
